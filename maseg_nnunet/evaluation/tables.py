"""Tables of mean ± standard deviation over cases, laid out and rounded as the paper prints them. Not the tests
between groups (`statistics.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maseg_nnunet.mammogram import View

if TYPE_CHECKING:
    import pandas as pd


def view_group(view: str) -> str:
    """MLO for MLO-like projections, CC for the craniocaudal ones, the view itself for anything else."""
    if view in (v.value for v in View if v.is_mlo_like):
        return "MLO"
    return "CC" if view in ("CC", "XCCL", "XCCM", "FB") else (view or "unknown")


def mean_sd(values: pd.Series[float]) -> str:
    """Mean ± sample standard deviation with two decimals, as the paper; missing values left out, "" for none at all."""
    present = values.dropna()
    if present.empty:
        return ""
    spread = f"{present.std(ddof=1):.2f}" if len(present) > 1 else "–"
    return f"{present.mean():.2f} ± {spread}"


def dice_table(cases: pd.DataFrame, groups: pd.Series[str], heading: str) -> pd.DataFrame:
    """n, breast, pectoral with its own n, and overall Dice of each group, in the order in which the groups appear.

    `groups`: the group of each case, same index as `cases`. Columns `heading`, n, Breast, Pectoral (n), Overall: texts.
    """
    import pandas as pd

    rows = []
    for group in groups.drop_duplicates():
        rows.append(_dice_row(group, cases[groups == group]))
    return pd.DataFrame(rows, columns=["group", "n", "Breast", "Pectoral (n)", "Overall"]).rename(
        columns={"group": heading}
    )


def _dice_row(name: str, cases: pd.DataFrame) -> list[str]:
    pectoral = mean_sd(cases["dice_pectoral"])
    with_muscle = int(cases["dice_pectoral"].notna().sum())
    return [
        name,
        str(len(cases)),
        mean_sd(cases["dice_breast"]),
        f"{pectoral} ({with_muscle})" if pectoral else "(0)",
        mean_sd(cases["dice_overall"]),
    ]


def summary_table(cases: pd.DataFrame) -> pd.DataFrame:
    """Dice of every data set and view and of all cases together; columns Group, n, Breast, Pectoral (n), Overall."""
    import pandas as pd

    ordered = cases.assign(view_group=cases["view"].map(view_group)).sort_values(["dataset", "view_group", "case"])
    groups = ordered["dataset"] + " " + ordered["view_group"]
    everything = pd.Series("All", index=cases.index)
    return pd.concat([dice_table(ordered, groups, "Group"), dice_table(cases, everything, "Group")], ignore_index=True)

"""Tables 5 to 9 of the paper from scored cases, in its layout and rounding. Not the tests between groups
(`significance.py`), not how a table is shown (`report.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from maseg_nnunet.evaluation import published
from maseg_nnunet.mammogram import Intent, View

if TYPE_CHECKING:
    import pandas as pd

DATASETS: Final = {
    "hologic": "Hologic",
    "ims_giotto": "IMS Giotto",
    "fuji": "Fuji",
    "ge": "GE",
    "inbreast": "INbreast",
    "mini_mias": "Mini-MIAS",
    "siemens": "Siemens",
    "planmed": "PlanMed",
}
"""Key of a data set to its name in the paper's tables, in their order."""

MEAN_SD: Final = "Mean ± sample standard deviation over images."
EXCLUDED: Final = "Without muscle and overall scores, since their muscle was not judged (quality exclude): {count}."


@dataclass(frozen=True, eq=False)
class ReportTable:
    """One table as it is printed: every cell a text, the first column names the row. `key` is its file's name."""

    key: str
    title: str
    frame: pd.DataFrame
    notes: tuple[str, ...] = ()


def without_raw(cases: pd.DataFrame) -> pd.DataFrame:
    """The processed and film images, which the paper's Tables 5 to 7 are of; the raw ones where there are no others."""
    displayed = cases[cases["intent"] != Intent.RAW.value]
    return cases if displayed.empty else displayed


def view_group(view: str) -> str:
    """MLO for MLO-like projections, CC for the craniocaudal ones, the view itself for anything else."""
    if view in (v.value for v in View if v.is_mlo_like):
        return "MLO"
    return "CC" if view in ("CC", "XCCL", "XCCM", "FB") else (view or "unknown")


def dataset_name(key: str) -> str:
    """A data set's name in the tables."""
    return DATASETS.get(key, key)


def with_groups(cases: pd.DataFrame) -> pd.DataFrame:
    """`cases` with the columns `view_group`, `dataset_name` and `group`, in the tables' order of data sets and views.

    `group` is the data set's name; where all cases are of one data set, the vendor's.
    """
    views, keys = ["MLO", "CC"], list(DATASETS)
    one = cases["dataset"].nunique() == 1 and cases["vendor"].nunique() > 1
    grouped = cases.assign(
        view_group=cases["view"].map(view_group),
        dataset_name=cases["dataset"].map(dataset_name),
        group=cases["vendor" if one else "dataset"].map(dataset_name),
    )
    rank = [
        grouped["dataset"].map(lambda key: keys.index(key) if key in keys else len(keys)),
        grouped["view_group"].map(lambda view: views.index(view) if view in views else len(views)),
    ]
    ranked = grouped.assign(_dataset=rank[0], _view=rank[1])
    ordered: pd.DataFrame = ranked.sort_values(["_dataset", "dataset", "group", "_view", "view_group", "case"])
    without_ranks: pd.DataFrame = ordered.drop(columns=["_dataset", "_view"])
    return without_ranks


def mean_sd(values: pd.Series[float]) -> str:
    """Mean ± sample standard deviation with two decimals, as the paper; missing values left out, "" for none at all."""
    present = values.dropna()
    if present.empty:
        return ""
    spread = f"{present.std(ddof=1):.2f}" if len(present) > 1 else "–"
    return f"{present.mean():.2f} ± {spread}"


def rate(count: int, total: int) -> str:
    """`26.9% (25/93)`; an en dash for the percentage of none."""
    return f"{100 * count / total:.1f}% ({count}/{total})" if total else f"– ({count}/{total})"


def p_text(p: float) -> str:
    """Three decimals, `<0.001` below, "" for a test that could not be made."""
    if p != p:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def signed(value: float) -> str:
    """Two decimals with a sign, the minus typographical; a negative zero is +0.00."""
    text = f"{value:+.2f}"
    return "+0.00" if text == "-0.00" else text.replace("-", "−")


def _frame(rows: list[list[str]], columns: list[str]) -> pd.DataFrame:
    import pandas as pd

    frame: pd.DataFrame = pd.DataFrame(rows, columns=columns)
    return frame


def _dice_cells(cases: pd.DataFrame) -> list[str]:
    pectoral = cases["dice_pectoral"].dropna()
    return [
        str(len(cases)),
        mean_sd(cases["dice_breast"]),
        f"{mean_sd(pectoral)} ({len(pectoral)})".strip(),
        mean_sd(cases["dice_overall"]),
    ]


_DICE_COLUMNS: Final = ["n", "Breast", "Pectoral (n)", "Overall"]


def _notes(cases: pd.DataFrame) -> tuple[str, ...]:
    excluded = int((~cases["muscle_scored"].astype(bool)).sum())
    return (MEAN_SD, EXCLUDED.format(count=excluded)) if excluded else (MEAN_SD,)


def summary_table(cases: pd.DataFrame) -> ReportTable:
    """Dice of every data set (or vendor, where there is one data set) and view, and of all cases."""
    grouped = with_groups(cases)
    rows = [
        [f"{name} {view}", *_dice_cells(part)]
        for (name, view), part in grouped.groupby(["group", "view_group"], sort=False)
    ]
    rows.append(["All", *_dice_cells(grouped)])
    return ReportTable(
        "summary", "Dice of each data set and view", _frame(rows, ["Group", *_DICE_COLUMNS]), _notes(cases)
    )


def table5(cases: pd.DataFrame) -> ReportTable:
    """Dice of the views and of all cases."""
    grouped = with_groups(cases)
    order = sorted(grouped["view_group"].unique(), key=lambda view: (view != "MLO", view != "CC", view))
    rows = [[view, *_dice_cells(grouped[grouped["view_group"] == view])] for view in order]
    rows.append(["All", *_dice_cells(grouped)])
    return ReportTable("table5", "Table 5. Dice of the views", _frame(rows, ["View", *_DICE_COLUMNS]), _notes(cases))


def table6(cases: pd.DataFrame) -> ReportTable:
    """How often the muscle is present, missed and invented, and its size in per cent of the breast, by view."""
    rows = []
    for view, part in _judged_by_view(cases):
        present = part[part["reference_pectoral_area"] > 0]
        absent = part[part["reference_pectoral_area"] == 0]
        with_breast = present[present["reference_breast_area"] > 0]
        size = 100 * with_breast["reference_pectoral_area"] / with_breast["reference_breast_area"]
        rows.append(
            [
                view,
                str(len(part)),
                rate(len(present), len(part)),
                _percent(size),
                rate(int(present["false_negative"].sum()), len(present)),
                rate(int(absent["false_positive"].sum()), len(absent)),
            ]
        )
    columns = ["View", "n", "Pectoral present", "Pectoral size", "False negatives", "False positives"]
    notes = ("Size: area of the muscle in per cent of the area of the breast without it, where there is a muscle.",)
    return ReportTable("table6", "Table 6. Missed and invented pectoral muscles", _frame(rows, columns), notes)


def section31(cases: pd.DataFrame) -> ReportTable:
    """What section 3.1 says in its text: muscle Dice where it was found, false positives above 1 % of the breast."""
    rows = []
    for view, part in _judged_by_view(cases):
        present = part[part["reference_pectoral_area"] > 0]
        found = present.loc[~present["false_negative"].astype(bool), "dice_pectoral"]
        absent = part[part["reference_pectoral_area"] == 0]
        large = rate(int(absent["large_false_positive"].sum()), len(absent))
        rows.append([view, f"{mean_sd(found)} ({len(found)})".strip(), large])
    columns = ["View", "Pectoral where found (n)", "False positives above 1 %"]
    return ReportTable(
        "section31", "Section 3.1. Muscles that were found, and large false positives", _frame(rows, columns)
    )


def _percent(values: pd.Series[float]) -> str:
    if values.empty:
        return ""
    return f"{values.mean():.1f}% ± " + (f"{values.std(ddof=1):.1f}%" if len(values) > 1 else "–")


def _judged_by_view(cases: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    grouped = with_groups(cases[cases["muscle_scored"].astype(bool)])
    order = sorted(grouped["view_group"].unique(), key=lambda view: (view != "MLO", view != "CC", view))
    return [(view, grouped[grouped["view_group"] == view]) for view in order]


def table7(cases: pd.DataFrame) -> ReportTable:
    """Dice of the data sets, of all cases and, where film is among them, of all digital ones."""
    grouped = with_groups(cases)
    rows = [[str(name), *_dice_cells(part)] for name, part in grouped.groupby("dataset_name", sort=False)]
    rows.append(["All", *_dice_cells(grouped)])
    digital = grouped[grouped["intent"] != Intent.FILM.value]
    notes = _notes(cases)
    if 0 < len(digital) < len(grouped):
        rows.append(["All DM", *_dice_cells(digital)])
        notes = (*notes, "All DM: digital mammograms, so without digitized film.")
    return ReportTable("table7", "Table 7. Dice of the data sets", _frame(rows, ["Dataset", *_DICE_COLUMNS]), notes)


def distances(cases: pd.DataFrame) -> ReportTable:
    """Hausdorff 95 and mean surface distance of both classes, in mm, where the reference has the class."""
    grouped = with_groups(cases)
    parts = [(str(name), part) for name, part in grouped.groupby("dataset_name", sort=False)]
    rows = []
    for name, part in [*parts, ("All", grouped)]:
        breast = part[part["reference_breast_area"] > 0]
        muscle = part[(part["reference_pectoral_area"] > 0) & part["muscle_scored"].astype(bool)]
        scores = [breast["hd95_breast"], breast["msd_breast"], muscle["hd95_pectoral"], muscle["msd_pectoral"]]
        rows.append([name, *map(mean_sd, scores)])
    columns = ["Dataset", "Breast HD95", "Breast mean distance", "Pectoral HD95", "Pectoral mean distance"]
    notes = ("A class that was missed altogether counts with the diagonal of its image.",)
    return ReportTable("distances", "Boundary distances in mm", _frame(rows, columns), notes)


def table8(models: Mapping[str, pd.DataFrame]) -> ReportTable:
    """Overall Dice of processed (and film) and of raw images of each data set, for each model; `models`: name to cases.

    Two models are the paper's Table 8; one model gives the same table with half the columns.
    """
    scored = [with_groups(cases) for cases in models.values()]
    names = scored[0]["dataset_name"].drop_duplicates().tolist()
    with_raw = set(scored[0].loc[scored[0]["intent"] == Intent.RAW.value, "dataset_name"])
    groups = [(name, {name}) for name in names]
    if len(names) > 1:
        groups.append(("All", set(names)))
    if with_raw and len(with_raw) < len(names):
        groups.append(("Datasets containing processed and raw", with_raw))
    rows = []
    for name, members in groups:
        cells = []
        for model in scored:
            part = model[model["dataset_name"].isin(members)]
            is_raw = part["intent"] == Intent.RAW.value
            cells.append(mean_sd(part.loc[~is_raw, "dice_overall"]))
            # The raw images of all data sets together would be those of the few that have some: the last row.
            cells.append(mean_sd(part.loc[is_raw, "dice_overall"]) if members <= with_raw else "")
        first = scored[0][scored[0]["dataset_name"].isin(members) & scored[0]["dice_overall"].notna()]
        displayed = int((first["intent"] != Intent.RAW.value).sum())
        rows.append([name, str(displayed or len(first)), *cells])
    columns = ["Dataset", "n", *(f"{name}: {intent}" for name in models for intent in ("processed", "raw"))]
    notes = (MEAN_SD, "Processed: with digitized film. n: processed images, raw ones where there are none.")
    if len(models) == 2:
        return ReportTable("table8", "Table 8. Overall Dice on processed and raw images", _frame(rows, columns), notes)
    return ReportTable("intents", "Overall Dice on processed and raw images", _frame(rows, columns), notes)


@dataclass(frozen=True, eq=False)
class LeftOut:
    """One row of Table 9: a model trained without the data set `dataset` (a key) on `training` images.

    `included`: scored test cases of the other sets. `excluded`: scored training and test cases of this one. `p`: of
    the unpaired t-test between their overall Dice.
    """

    dataset: str
    training: int
    included: pd.DataFrame
    excluded: pd.DataFrame
    p: float


def table9(models: Sequence[LeftOut]) -> ReportTable:
    """Overall Dice on data sets that were and were not trained on; a star where p is below 0.05 by the number of models
    (Bonferroni, section 2.3.3; the paper has eight).
    """
    rows, level = [], 0.05 / max(1, len(models))
    for model in models:
        seen, unseen = (part["dice_overall"].dropna() for part in (model.included, model.excluded))
        star = "*" if model.p < level else ""
        rows.append(
            [
                dataset_name(model.dataset),
                str(model.training),
                mean_sd(seen),
                str(len(seen)),
                mean_sd(unseen),
                str(len(unseen)),
                signed(unseen.mean() - seen.mean()) + star,
                p_text(model.p),
            ]
        )
    columns = ["Excluded dataset", "Train n", "Included Dice", "Included n", "Excluded Dice", "Excluded n"]
    notes = (MEAN_SD, "Included: test sets of the data sets trained on. Excluded: training and test set of the other.",
             f"Star: significant at 0.05/{len(models)} = {level:.3g}.")  # fmt: skip
    return ReportTable("table9", "Table 9. Vendors left out", _frame(rows, [*columns, "Difference", "p"]), notes)


def beside_published(table: ReportTable) -> ReportTable | None:
    """`table` with the paper's number beside each of ours; None where the paper has no row of it."""
    theirs: Mapping[str, tuple[str, ...]] = published.TABLES.get(table.key, {})
    first, *columns = table.frame.columns
    if not any(name in theirs for name in table.frame[first]):
        return None
    rows: list[dict[str, Any]] = []
    for _, row in table.frame.iterrows():
        cells = theirs.get(row[first], ("",) * len(columns))
        both = {first: row[first]}
        for column, cell in zip(columns, cells, strict=True):
            both |= {column: row[column], f"{column}, paper": cell}
        rows.append(both)
    import pandas as pd

    notes = (*table.notes, f"Paper: {published.REFERENCE}.")
    return ReportTable(table.key, table.title, pd.DataFrame(rows), notes)


def markdown(table: ReportTable) -> str:
    """The table as GitHub's Markdown, title above, notes below."""
    lines = [f"**{table.title}**", "", _line(table.frame.columns)]
    lines.append("| --- |" + " ---: |" * (len(table.frame.columns) - 1))
    lines += [_line(row) for row in table.frame.itertuples(index=False)]
    return "\n".join([*lines, "", *table.notes, ""])


def _line(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

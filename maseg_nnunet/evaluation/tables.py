"""Tables 5 to 9 of the paper from scored cases, in its layout and rounding.

The statistical tests are in `significance.py`; `report.py` shows the tables on the page.
"""

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
"""Key of a data set to its name in the paper's tables, in the order of the tables."""

MEAN_SD: Final = "Mean ± sample standard deviation over images."
EXCLUDED: Final = (
    "Images without muscle and overall scores because the muscle was not judged (quality exclude): {count}."
)


@dataclass(frozen=True, eq=False)
class ReportTable:
    """A table as it is printed.

    Attributes:
        key: Name of its CSV file, without the ending.
        title: Caption.
        frame: The cells, all of them text. The first column names the row.
        notes: Sentences below the table.
    """

    key: str
    title: str
    frame: pd.DataFrame
    notes: tuple[str, ...] = ()


def without_raw(cases: pd.DataFrame) -> pd.DataFrame:
    """Leave out raw images, as the paper's Tables 5 to 7 do. If all images are raw, keep them."""
    displayed = cases[cases["intent"] != Intent.RAW.value]
    return cases if displayed.empty else displayed


def view_group(view: str) -> str:
    """Group a view: MLO for MLO-like projections, CC for craniocaudal ones, otherwise the view itself."""
    if view in (v.value for v in View if v.is_mlo_like):
        return "MLO"
    return "CC" if view in ("CC", "XCCL", "XCCM", "FB") else (view or "unknown")


def dataset_name(key: str) -> str:
    """Name of a data set in the tables; an unknown key is its own name."""
    return DATASETS.get(key, key)


def with_groups(cases: pd.DataFrame) -> pd.DataFrame:
    """Add the columns `view_group`, `dataset_name` and `group`, and sort the cases as the tables do.

    `group` is the name of the data set. If all cases are from one data set with several vendors, it is the vendor.
    """
    views, keys = ["MLO", "CC"], list(DATASETS)
    by_vendor = cases["dataset"].nunique() == 1 and cases["vendor"].nunique() > 1
    grouped = cases.assign(
        view_group=cases["view"].map(view_group),
        dataset_name=cases["dataset"].map(dataset_name),
        group=cases["vendor" if by_vendor else "dataset"].map(dataset_name),
    )
    ranked = grouped.assign(
        _dataset=grouped["dataset"].map(lambda key: keys.index(key) if key in keys else len(keys)),
        _view=grouped["view_group"].map(lambda view: views.index(view) if view in views else len(views)),
    )
    ordered: pd.DataFrame = ranked.sort_values(["_dataset", "dataset", "group", "_view", "view_group", "case"])
    without_ranks: pd.DataFrame = ordered.drop(columns=["_dataset", "_view"])
    return without_ranks


def mean_sd(values: pd.Series[float]) -> str:
    """Format mean ± sample standard deviation with two decimals, as the paper does; NaN is left out, "" if all are."""
    present = values.dropna()
    if present.empty:
        return ""
    spread = f"{present.std(ddof=1):.2f}" if len(present) > 1 else "–"
    return f"{present.mean():.2f} ± {spread}"


def rate(count: int, total: int) -> str:
    """Format a rate, such as `26.9% (25/93)`; the percentage is an en dash if `total` is 0."""
    return f"{100 * count / total:.1f}% ({count}/{total})" if total else f"– ({count}/{total})"


def p_text(p: float) -> str:
    """Format a p-value: three decimals, `<0.001` if smaller, "" for NaN."""
    if p != p:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def signed(value: float) -> str:
    """Format a difference: two decimals, a sign, the typographical minus; negative zero is +0.00."""
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
    """Dice by group (`with_groups`) and view, and of all cases."""
    grouped = with_groups(cases)
    rows = [
        [f"{name} {view}", *_dice_cells(part)]
        for (name, view), part in grouped.groupby(["group", "view_group"], sort=False)
    ]
    rows.append(["All", *_dice_cells(grouped)])
    return ReportTable("summary", "Dice by dataset and view", _frame(rows, ["Group", *_DICE_COLUMNS]), _notes(cases))


def table5(cases: pd.DataFrame) -> ReportTable:
    """Dice by view, and of all cases."""
    grouped = with_groups(cases)
    rows = [[view, *_dice_cells(part)] for view, part in _by_view(grouped)]
    rows.append(["All", *_dice_cells(grouped)])
    return ReportTable("table5", "Table 5. Dice by view", _frame(rows, ["View", *_DICE_COLUMNS]), _notes(cases))


def table6(cases: pd.DataFrame) -> ReportTable:
    """Presence of the muscle, its size as a percentage of the breast, false negatives and false positives, by view."""
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
    notes = (
        "Pectoral size: area of the muscle as a percentage of the area of the breast without the muscle, over the "
        "images with a muscle.",
    )
    title = "Table 6. False negatives and false positives of the pectoral muscle"
    return ReportTable("table6", title, _frame(rows, columns), notes)


def section31(cases: pd.DataFrame) -> ReportTable:
    """Figures in the text of section 3.1: Dice of the muscles that were found, and large false positives."""
    rows = []
    for view, part in _judged_by_view(cases):
        present = part[part["reference_pectoral_area"] > 0]
        found = present.loc[~present["false_negative"].astype(bool), "dice_pectoral"]
        absent = part[part["reference_pectoral_area"] == 0]
        large = rate(int(absent["large_false_positive"].sum()), len(absent))
        rows.append([view, f"{mean_sd(found)} ({len(found)})".strip(), large])
    columns = ["View", "Pectoral where found (n)", "False positives above 1 %"]
    title = "Section 3.1. Dice of the muscles that were found, and large false positives"
    return ReportTable("section31", title, _frame(rows, columns))


def _percent(values: pd.Series[float]) -> str:
    if values.empty:
        return ""
    return f"{values.mean():.1f}% ± " + (f"{values.std(ddof=1):.1f}%" if len(values) > 1 else "–")


def _judged_by_view(cases: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return _by_view(with_groups(cases[cases["muscle_scored"].astype(bool)]))


def _by_view(grouped: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The cases of each view, MLO and CC first."""
    order = sorted(grouped["view_group"].unique(), key=lambda view: (view != "MLO", view != "CC", view))
    return [(view, grouped[grouped["view_group"] == view]) for view in order]


def table7(cases: pd.DataFrame) -> ReportTable:
    """Dice by data set, of all cases and, if some are film, of all digital ones."""
    grouped = with_groups(cases)
    rows = [[name, *_dice_cells(part)] for name, part in _by_dataset(grouped)]
    rows.append(["All", *_dice_cells(grouped)])
    digital = grouped[grouped["intent"] != Intent.FILM.value]
    notes = _notes(cases)
    if 0 < len(digital) < len(grouped):
        rows.append(["All DM", *_dice_cells(digital)])
        notes = (*notes, "All DM: all digital mammograms, without digitized film.")
    return ReportTable("table7", "Table 7. Dice by dataset", _frame(rows, ["Dataset", *_DICE_COLUMNS]), notes)


def distances(cases: pd.DataFrame) -> ReportTable:
    """Boundary distances of both classes in mm by data set, over the cases whose reference has the class."""
    grouped = with_groups(cases)
    rows = []
    for name, part in [*_by_dataset(grouped), ("All", grouped)]:
        breast = part[part["reference_breast_area"] > 0]
        muscle = part[(part["reference_pectoral_area"] > 0) & part["muscle_scored"].astype(bool)]
        scores = [breast["hd95_breast"], breast["msd_breast"], muscle["hd95_pectoral"], muscle["msd_pectoral"]]
        rows.append([name, *map(mean_sd, scores)])
    columns = ["Dataset", "Breast HD95", "Breast mean distance", "Pectoral HD95", "Pectoral mean distance"]
    notes = (
        "HD95: 95th percentile of the Hausdorff distance. Mean distance: mean surface distance. If the prediction "
        "lacks a class that the reference has, its distance is the diagonal of the image.",
    )
    return ReportTable("distances", "Boundary distances in mm", _frame(rows, columns), notes)


def _by_dataset(grouped: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(str(name), part) for name, part in grouped.groupby("dataset_name", sort=False)]


def table8(models: Mapping[str, pd.DataFrame]) -> ReportTable:
    """Overall Dice of processed (and film) images and of raw images by data set, for each model.

    Args:
        models: Name of each model to its scored cases. Two models make the paper's Table 8, one makes the same table
            with half the columns.
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
            # Raw images of all data sets are those of the data sets that have some, and these are in the last row.
            cells.append(mean_sd(part.loc[is_raw, "dice_overall"]) if members <= with_raw else "")
        first = scored[0][scored[0]["dataset_name"].isin(members) & scored[0]["dice_overall"].notna()]
        displayed = int((first["intent"] != Intent.RAW.value).sum())
        rows.append([name, str(displayed or len(first)), *cells])
    columns = ["Dataset", "n", *(f"{name}: {intent}" for name in models for intent in ("processed", "raw"))]
    notes = (MEAN_SD, "Processed: including digitized film. n: processed images; raw images if there are no others.")
    title = "Overall Dice on processed and raw images"
    if len(models) == 2:
        return ReportTable("table8", f"Table 8. {title}", _frame(rows, columns), notes)
    return ReportTable("intents", title, _frame(rows, columns), notes)


@dataclass(frozen=True, eq=False)
class LeftOut:
    """A model that was trained without one data set; one row of Table 9.

    Attributes:
        dataset: Key of the data set left out.
        training: Number of training images.
        included: Scored test cases of the other data sets.
        excluded: Scored training and test cases of the data set left out.
        p: p-value of the unpaired t-test of their overall Dice.
    """

    dataset: str
    training: int
    included: pd.DataFrame
    excluded: pd.DataFrame
    p: float


def table9(models: Sequence[LeftOut]) -> ReportTable:
    """Overall Dice on the data sets that a model was trained on, and on the one left out.

    A star marks a p-value below 0.05 divided by the number of models (Bonferroni correction, section 2.3.3; the paper
    has eight models).
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
    notes = (
        MEAN_SD,
        "Included: test sets of the datasets in training. Excluded: training set and test set of the dataset left out.",
        f"Star: p below 0.05/{len(models)} = {level:.3g} (Bonferroni correction).",
    )
    return ReportTable(
        "table9", "Table 9. One vendor left out of training", _frame(rows, [*columns, "Difference", "p"]), notes
    )


def beside_published(table: ReportTable) -> ReportTable | None:
    """Put the paper's number beside each of ours; None if the paper has none of the table's rows."""
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
    """Format a table as GitHub Markdown, with the title above and the notes below."""
    lines = [f"**{table.title}**", "", _line(table.frame.columns)]
    lines.append("| --- |" + " ---: |" * (len(table.frame.columns) - 1))
    lines += [_line(row) for row in table.frame.itertuples(index=False)]
    return "\n".join([*lines, "", *table.notes, ""])


def _line(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

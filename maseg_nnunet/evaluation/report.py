"""report.html: one page with the tables, charts, pictures and a list of cases to sort, filter and open.

The page is self-contained: style, script, charts and pictures are in it, so it loads and sends nothing. An image with
burned-in annotation is not shown, because it may show a name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from maseg_nnunet.evaluation import charts, published
from maseg_nnunet.evaluation.pictures import Picture
from maseg_nnunet.evaluation.tables import ReportTable, mean_sd, rate, with_groups, without_raw
from maseg_nnunet.files import write_text
from maseg_nnunet.mammogram import Flag

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES: Final = 5
"""Number of pictures each of the best, median and worst cases."""

_SCORES: Final = {
    "dice_overall": "Overall Dice",
    "dice_breast": "Breast Dice",
    "dice_pectoral": "Pectoral Dice",
    "hd95_breast": "Breast HD95 (mm)",
    "hd95_pectoral": "Pectoral HD95 (mm)",
}

OVERALL_A: Final = "dice_overall_a"
"""Column of `cases` with the overall Dice of A, if the report compares A and B."""

_MARKS: Final = {
    "false_negative": "false negative",
    "large_false_positive": "false positive above 1%",
    "false_positive": "false positive",
}


@dataclass(frozen=True)
class Entry:
    """One row of the list of cases.

    Attributes:
        case: Name of the case.
        group: Name of its data set, or its vendor, see `with_groups`.
        view: View, as in the manifest.
        overall: Overall Dice.
        cells: (value to sort by, text) of each column.
        filters: For each filter, the options that this case matches.
        picture: Picture, if it may be shown.
        no_picture: Text to show otherwise.
    """

    case: str
    group: str
    view: str
    overall: str
    cells: list[tuple[float | str | None, str]]
    filters: list[list[str]]
    picture: Picture | None
    no_picture: str


def write_report(
    path: Path,
    cases: pd.DataFrame,
    tables: Sequence[ReportTable],
    tests: ReportTable | None,
    pictures: Mapping[str, Picture],
    *,
    title: str,
    subtitle: str,
) -> bool:
    """Write report.html.

    Args:
        path: File to write.
        cases: Scored cases.
        tables: Tables to show.
        tests: Table of the statistical tests, if there are any.
        pictures: Case to its picture; a case may have none.
        title: Title of the page.
        subtitle: What was scored.

    Returns:
        Whether the file changed.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    grouped = with_groups(cases)
    scores = {**_SCORES, **({OVERALL_A: "Overall Dice (A)"} if OVERALL_A in grouped else {})}
    entries = [_entry(row, scores, pictures) for row in grouped.to_dict("records")]
    environment = Environment(
        loader=PackageLoader("maseg_nnunet.evaluation"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    shown = [_with_published(table) for table in tables]
    displayed = without_raw(grouped)
    page = environment.get_template("report.html.j2").render(
        title=title,
        subtitle=subtitle,
        style=Markup(_text("report.css")),
        script=Markup(_text("report.js")),
        figures=_figures(displayed, len(grouped) - len(displayed)),
        has_paper=any(cell[1] is not None for table in shown for row in table["rows"] for cell in row),
        reference=published.REFERENCE,
        tables=shown,
        tests=_with_published(tests) if tests is not None else None,
        views=charts.legend(displayed["view_group"].drop_duplicates().tolist()),
        boxes=Markup(charts.dice_boxes(displayed)),
        areas=Markup(charts.bland_altman(displayed)),
        chosen=_examples(grouped, entries),
        filters=[
            ("Dataset", grouped["group"].drop_duplicates().tolist()),
            ("View", sorted(grouped["view"].unique())),
            ("Intent", sorted(grouped["intent"].unique())),
            ("Muscle", [*_MARKS.values(), "not judged"]),
        ],
        columns=["Case", "Dataset", "View", "Intent", *scores.values(), "Muscle"],
        entries=entries,
        footer=f"maseg-nnunet {metadata.version('maseg-nnunet')}. {len(cases)} cases.",
    )
    return write_text(path, page)


def _text(name: str) -> str:
    return resources.files("maseg_nnunet.evaluation").joinpath("templates").joinpath(name).read_text(encoding="utf-8")


def _with_published(table: ReportTable) -> dict[str, Any]:
    """The table for the template. Each cell is (ours, the paper's); the latter is None if the paper lacks the table."""
    paper_rows = published.TABLES.get(table.key, {})
    rows = []
    for name, *cells in table.frame.itertuples(index=False):
        paper = paper_rows.get(name, ("",) * len(cells)) if paper_rows else (None,) * len(cells)
        rows.append([(name, None), *zip(cells, paper, strict=True)])
    return {"title": table.title, "columns": list(table.frame.columns), "rows": rows, "notes": table.notes}


def _figures(cases: pd.DataFrame, raw: int) -> list[tuple[str, str, str]]:
    """(name, value, detail) of each figure in the head of the page; `raw` counts the raw images left out of `cases`."""
    left_out = f", without {raw} raw images" if raw else ""
    judged = cases[cases["muscle_scored"].astype(bool)]
    has = judged["reference_pectoral_area"] > 0
    return [
        ("Cases", str(len(cases)), f"of {len(cases.groupby(['dataset', 'woman']))} women{left_out}"),
        ("Overall Dice", mean_sd(cases["dice_overall"]), f"median {_score(cases['dice_overall'].median())}"),
        ("Breast Dice", mean_sd(cases["dice_breast"]), f"median {_score(cases['dice_breast'].median())}"),
        ("Pectoral Dice", mean_sd(cases["dice_pectoral"]), f"median {_score(cases['dice_pectoral'].median())}"),
        (
            "False negatives",
            rate(int(judged.loc[has, "false_negative"].sum()), int(has.sum())),
            "of images with a muscle",
        ),
        (
            "False positives",
            rate(int(judged.loc[~has, "false_positive"].sum()), int((~has).sum())),
            "of images without a muscle",
        ),
    ]


def _entry(row: Mapping[Any, Any], scores: Mapping[str, str], pictures: Mapping[str, Picture]) -> Entry:
    marks = [text for column, text in _MARKS.items() if row[column] is True]
    if not row["muscle_scored"]:
        marks = ["not judged"]
    burned_in = Flag.BURNED_IN.value in str(row["flags"])
    labels = [row["case"], row["group"], row["view"], row["intent"]]
    return Entry(
        case=row["case"],
        group=row["group"],
        view=row["view"],
        overall=_score(row["dice_overall"]),
        cells=[
            *((label, label) for label in labels),
            *((None if math.isnan(row[name]) else round(row[name], 6), _score(row[name], name)) for name in scores),
            (", ".join(marks[:1]), ", ".join(marks[:1])),
        ],
        filters=[[row["group"]], [row["view"]], [row["intent"]], marks],
        picture=None if burned_in else pictures.get(row["case"]),
        no_picture="burned-in annotation: not shown" if burned_in else "no picture",
    )


def _score(value: float, column: str = "dice") -> str:
    if math.isnan(value):
        return ""
    return f"{value:.1f}" if column.startswith("hd95") else f"{value:.3f}"


def _examples(cases: pd.DataFrame, entries: Sequence[Entry]) -> list[tuple[str, list[Entry]]]:
    """Among the cases with a picture, those with the highest, median and lowest overall Dice, each with a heading."""
    overall = dict(zip(cases["case"], cases["dice_overall"], strict=True))
    ranked = sorted(
        (entry for entry in entries if entry.picture and not math.isnan(overall[entry.case])),
        key=lambda entry: (-overall[entry.case], entry.case),
    )
    count = min(EXAMPLES, len(ranked) // 3)
    if not count:
        return [("All", ranked)] if ranked else []
    middle = (len(ranked) - count) // 2
    return [
        ("Highest overall Dice", ranked[:count]),
        ("Median overall Dice", ranked[middle : middle + count]),
        ("Lowest overall Dice", ranked[-count:]),
    ]

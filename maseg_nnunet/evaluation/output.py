"""The files that an evaluation writes: cases.csv, each table as CSV, tables.md, statistics.csv, report.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from maseg_nnunet.evaluation.pictures import Picture
from maseg_nnunet.evaluation.report import write_report
from maseg_nnunet.evaluation.scoring import write_cases
from maseg_nnunet.evaluation.significance import Comparison, compare_datasets, compare_views
from maseg_nnunet.evaluation.significance_tables import statistics_table
from maseg_nnunet.evaluation.tables import (
    ReportTable,
    beside_published,
    distances,
    markdown,
    section31,
    summary_table,
    table5,
    table6,
    table7,
    table8,
    without_raw,
)
from maseg_nnunet.files import write_text

if TYPE_CHECKING:
    import pandas as pd


TABLES: Final = ("table[5-9]", "section31", "distances", "intents", "unseen", "comparison", "statistics")
CASES: Final = ("cases", "cases_[ab]", "cases_without_*")
"""Patterns of the names of the CSV files that evaluations of any kind write."""


def tables_of(cases: pd.DataFrame) -> list[ReportTable]:
    """Tables 5, 6 and 7, the figures of section 3.1, the boundary distances and, if images are raw, their Dice."""
    displayed = without_raw(cases)
    tables = [build(displayed) for build in (table5, table6, section31, table7, distances)]
    if raw := len(cases) - len(displayed):
        note = f"Without {raw} raw images, which are in the table of processed and raw images."
        tables = [replace(table, notes=(*table.notes, note)) for table in tables]
        tables.append(table8({"Dice": cases}))
    return tables


def comparisons_of(cases: pd.DataFrame) -> list[Comparison]:
    """The paper's comparisons of views and of data sets, on the images of Tables 5 to 7."""
    displayed = without_raw(cases)
    return compare_views(displayed) + compare_datasets(displayed)


def write_tables(
    folder: Path,
    cases: Mapping[str, pd.DataFrame],
    tables: Sequence[ReportTable],
    comparisons: Sequence[Comparison],
    *,
    of_paper: bool = True,
) -> None:
    """Write scored cases, tables and comparisons as CSV, and tables.md, which has the paper's numbers beside ours.

    CSV files of an earlier evaluation that this one does not write are deleted.

    Args:
        folder: Where to write.
        cases: Name of a CSV file, without the ending, to its scored cases.
        tables: Written as KEY.csv each.
        comparisons: Written as statistics.csv.
        of_paper: Whether the comparisons are the paper's, see `statistics_table`.
    """
    import pandas as pd

    names = {*cases, *(table.key for table in tables), *(["statistics"] if comparisons else [])}
    for pattern in (*TABLES, *CASES):
        for path in folder.glob(f"{pattern}.csv"):
            if path.stem not in names:
                path.unlink()
    for name, scored in cases.items():
        write_cases(folder / f"{name}.csv", scored)
    for table in tables:
        write_text(folder / f"{table.key}.csv", table.frame.to_csv(index=False, lineterminator="\n"))
    shown = [beside_published(table) or table for table in tables]
    if comparisons:
        numbers = pd.DataFrame([{**asdict(c), "n": " ".join(map(str, c.n))} for c in comparisons])
        write_text(folder / "statistics.csv", numbers.to_csv(index=False, lineterminator="\n"))
        shown.append(statistics_table(comparisons, of_paper=of_paper))
    write_text(folder / "tables.md", "\n".join(markdown(table) for table in shown))


def write_evaluation(
    folder: Path, cases: pd.DataFrame, pictures: Mapping[str, Picture], about: str
) -> list[ReportTable]:
    """Write all tables, comparisons and the HTML report of scored cases.

    Args:
        folder: Where to write.
        cases: Scored cases.
        pictures: Case to its picture in the report; a case may have none.
        about: What was scored, for the head of the report.

    Returns:
        The tables to show in the terminal.
    """
    tables, comparisons = tables_of(cases), comparisons_of(cases)
    write_tables(folder, {"cases": cases}, tables, comparisons)
    tested = statistics_table(comparisons) if comparisons else None
    write_report(folder / "report.html", cases, tables, tested, pictures, title="Evaluation", subtitle=about)
    return [summary_table(without_raw(cases))]

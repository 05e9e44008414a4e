"""What an evaluation leaves in its folder: cases.csv, every table as CSV, tables.md, statistics.csv, report.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from maseg_nnunet.evaluation import significance as tests
from maseg_nnunet.evaluation.pictures import Picture
from maseg_nnunet.evaluation.report import write_report
from maseg_nnunet.evaluation.scoring import write_cases
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
"""Names of the CSV that evaluations of all kinds write, as patterns: none has them all."""


def tables_of(cases: pd.DataFrame) -> list[ReportTable]:
    """Tables 5, 6 and 7, section 3.1's figures and the distances; the Dice of raw images where there are some."""
    displayed = without_raw(cases)
    tables = [build(displayed) for build in (table5, table6, section31, table7, distances)]
    if left := len(cases) - len(displayed):
        note = f"Without {left} raw images, which the last table has."
        tables = [replace(table, notes=(*table.notes, note)) for table in tables]
        tables.append(table8({"Dice": cases}))
    return tables


def comparisons_of(cases: pd.DataFrame) -> list[tests.Comparison]:
    """The paper's tests between views and between data sets, on the images of Tables 5 to 7."""
    displayed = without_raw(cases)
    return tests.compare_views(displayed) + tests.compare_datasets(displayed)


def write_tables(
    folder: Path,
    cases: Mapping[str, pd.DataFrame],
    tables: Sequence[ReportTable],
    comparisons: Sequence[tests.Comparison],
    *,
    of_paper: bool = True,
) -> None:
    """Write the scored `cases` and every table as NAME.csv, statistics.csv, and tables.md (the paper's numbers beside).

    What an earlier evaluation left here and this one has not is removed. `of_paper`: see `tests_table`.
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
        shown.append(tests.tests_table(comparisons, of_paper=of_paper))
    write_text(folder / "tables.md", "\n".join(markdown(table) for table in shown))


def write_evaluation(
    folder: Path, cases: pd.DataFrame, pictures: Mapping[str, Picture], about: str
) -> list[ReportTable]:
    """Write everything that scored `cases` give, and return what the terminal shows.

    `pictures`: of the cases that get one in the page; `about`: what was scored, for the page's head.
    """
    tables, comparisons = tables_of(cases), comparisons_of(cases)
    write_tables(folder, {"cases": cases}, tables, comparisons)
    tested = tests.tests_table(comparisons) if comparisons else None
    write_report(folder / "report.html", cases, tables, tested, pictures, title="Evaluation", subtitle=about)
    return [summary_table(without_raw(cases))]

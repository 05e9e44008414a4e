"""How `maseg evaluate` and `maseg experiments` show scores, and the cases that can't be scored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from maseg_nnunet.evaluation.tables import ReportTable


@contextmanager
def problems_listed() -> Iterator[None]:
    """If the block raises ProblemsError, print each problem to stderr and raise it again."""
    from maseg_nnunet.evaluation.scoring import ProblemsError

    try:
        yield
    except ProblemsError as error:
        for problem in error.problems:
            typer.echo(str(problem), err=True)
        raise


def show_tables(tables: Iterable[ReportTable], report: Path) -> None:
    """Print tables to the terminal, and the folder with all of them."""
    for table in tables:
        _show(table)
    typer.echo(f"Written to {report}")


def _show(table: ReportTable) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    shown = RichTable(
        title=table.title, title_justify="left", box=box.SIMPLE, caption=" ".join(table.notes), caption_justify="left",
        collapse_padding=True, pad_edge=False, show_edge=False,
    )  # fmt: skip
    for position, column in enumerate(table.frame.columns):
        # One word of a header per line: then the numbers decide the width, and Table 9 fits into 80 columns.
        shown.add_column(column.replace(" ", "\n"), justify="right" if position else "left")
    for row in table.frame.itertuples(index=False):
        shown.add_row(*row)
    Console().print(shown)

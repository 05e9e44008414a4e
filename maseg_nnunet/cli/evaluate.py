"""`maseg evaluate`: scores of predicted masks against the references of a converted data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd


def evaluate(
    predictions: Annotated[Path, typer.Option("-p", "--predictions", help="Folder of predicted masks.")],
    dataset: Annotated[str, typer.Option("-d", "--dataset", help="Data set: id, name, or its folder in nnUNet_raw.")],
    split: Annotated[list[str], typer.Option(help="Cases to score: test, val or train; may be repeated.")] = ["test"],  # noqa: B006
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the report [default: PREDICTIONS/evaluation].")
    ] = None,
    include_excluded: Annotated[
        bool, typer.Option(help="Also score the muscle where the reference's quality is `exclude`.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Threads.")] = 2,
) -> None:
    """Score predicted masks: Dice, false positives and negatives, boundary distances, per case and per group.

    A prediction that is missing, extra, on another grid or with other labels is named, nothing is averaged, and the
    exit status is 1.

    Example: maseg evaluate -p predictions -d 506 -o report
    """
    from maseg_nnunet.evaluation.cases import ProblemsError, find_dataset, score_folder, write_cases
    from maseg_nnunet.evaluation.tables import summary_table

    try:
        cases = score_folder(
            predictions, find_dataset(dataset), split, include_excluded=include_excluded, workers=workers
        )
    except ProblemsError as error:
        for problem in error.problems:
            typer.echo(str(problem), err=True)
        raise
    report = output or predictions / "evaluation"
    write_cases(report / "cases.csv", cases)
    _show(summary_table(cases), f"Dice, {', '.join(split)} split, mean ± standard deviation")
    if excluded := int((~cases["muscle_scored"]).sum()):
        typer.echo(f"{excluded} of {len(cases)} cases without muscle and overall scores (quality exclude)")
    typer.echo(f"Scores of each case: {report / 'cases.csv'}")


def _show(table: pd.DataFrame, title: str) -> None:
    """Print a table of texts to the terminal."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=title, title_justify="left")
    for column in table.columns:
        shown.add_column(column, justify="left" if column == table.columns[0] else "right")
    for _, row in table.iterrows():
        shown.add_row(*row)
    Console().print(shown)

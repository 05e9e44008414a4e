"""`maseg evaluate`: scores of predicted masks against the references of a converted data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maseg_nnunet.errors import UsageError

if TYPE_CHECKING:
    from maseg_nnunet.evaluation.tables import ReportTable


def evaluate(
    dataset: Annotated[str, typer.Option("-d", "--dataset", help="Data set: id, name, or its folder in nnUNet_raw.")],
    predictions: Annotated[Path | None, typer.Option("-p", "--predictions", help="Folder of predicted masks.")] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Two folders of masks of the same cases, A and B, instead of -p.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the report [default: a folder among the masks].")
    ] = None,
    split: Annotated[list[str], typer.Option(help="Cases to score: test, val or train; may be repeated.")] = ["test"],  # noqa: B006
    intent: Annotated[list[str], typer.Option(help="Only processed, raw or film images; may be repeated.")] = [],  # noqa: B006
    labels: Annotated[
        str | None,
        typer.Option(help="What the values of -p or of A mean: 0=background,1=pectoral_muscle,2=breast,3=breast."),
    ] = None,
    include_excluded: Annotated[
        bool, typer.Option(help="Also score the muscle where the reference's quality is `exclude`.")
    ] = False,
    pictures: Annotated[bool, typer.Option(help="Show the cases in report.html.")] = True,
    workers: Annotated[int, typer.Option(min=1, help="Threads.")] = 2,
) -> None:
    """Score predicted masks: Dice, false positives and negatives, boundary distances, per case and per group.

    Writes cases.csv, the paper's tables as CSV and Markdown, its tests, and report.html. A prediction that is missing,
    belongs to no case, lies on another grid or has other labels is named; nothing is averaged then, exit status 1.

    Example: maseg evaluate -p predictions -d 506 -o report
    """
    from maseg_nnunet.dataset.cases import find_dataset, select_rows
    from maseg_nnunet.evaluation.comparison import write_comparison
    from maseg_nnunet.evaluation.output import write_evaluation
    from maseg_nnunet.evaluation.pictures import draw_pictures
    from maseg_nnunet.evaluation.scoring import ProblemsError, parse_merge, score_folder

    merge = parse_merge(labels) if labels else None
    folder = find_dataset(dataset)
    rows = select_rows(folder, split, intent)
    try:
        if compare is not None and predictions is None:
            report = output or compare[1] / "comparison"
            shown = write_comparison(
                report, folder, rows, compare, merge=merge, include_excluded=include_excluded, workers=workers,
                pictures=pictures,
            )  # fmt: skip
        elif predictions is not None and compare is None:
            report = output or predictions / "evaluation"
            cases = score_folder(
                predictions, folder, rows, merge=merge, include_excluded=include_excluded, workers=workers
            )
            drawn = draw_pictures(rows, folder, predictions, merge=merge, workers=workers) if pictures else {}
            about = f"{folder.name}, {', '.join(split)}: {len(cases)} cases. Predictions: {predictions.resolve().name}."
            shown = write_evaluation(report, cases, drawn, about)
        else:
            raise UsageError("give either -p PREDICTIONS or --compare A B")
    except ProblemsError as error:
        for problem in error.problems:
            typer.echo(str(problem), err=True)
        raise
    for table in shown:
        show(table)
    typer.echo(f"Written to {report}")


def show(table: ReportTable) -> None:
    """Print a table to the terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    shown = RichTable(
        title=table.title, title_justify="left", box=box.SIMPLE, caption=" ".join(table.notes), caption_justify="left",
        collapse_padding=True, pad_edge=False, show_edge=False,
    )  # fmt: skip
    for position, column in enumerate(table.frame.columns):
        # A header's words go below each other: the numbers decide the width, and Table 9 fits into 80 columns.
        shown.add_column(column.replace(" ", "\n"), justify="right" if position else "left")
    for row in table.frame.itertuples(index=False):
        shown.add_row(*row)
    Console().print(shown)

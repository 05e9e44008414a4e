"""`maseg evaluate`: scores of predicted masks against the reference masks of a converted data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maseg_nnunet.cli.options import PicturesOption, WorkersOption
from maseg_nnunet.errors import UsageError


def evaluate(
    dataset: Annotated[
        str,
        typer.Option(
            "-d", "--dataset", metavar="DATASET", help="Converted data set: its number, its name or its folder."
        ),
    ],
    predictions: Annotated[
        Path | None, typer.Option("-p", "--predictions", metavar="FOLDER", help="Folder of predicted masks.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A B", help="Two folders of predicted masks to compare with each other, instead of -p."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FOLDER",
            help="Folder for the report.",
            show_default="evaluation in the folder of -p, or comparison in B",
        ),
    ] = None,
    split: Annotated[
        list[str], typer.Option(metavar="SPLIT", help="Cases to score: test, val or train. Repeat it for several.")
    ] = ["test"],  # noqa: B006
    intent: Annotated[
        list[str],
        typer.Option(
            metavar="INTENT",
            help="Images to score: processed, raw or film. Repeat it for several.",
            show_default="all",
        ),
    ] = [],  # noqa: B006
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="VALUE=NAME,...",
            help="Meaning of the values in the masks of -p or A, such as 0=background,1=pectoral_muscle,2=breast.",
            show_default="0 background, 1 breast, 2 pectoral muscle",
        ),
    ] = None,
    include_excluded: Annotated[
        bool, typer.Option(help="Score the muscle even if the quality of the reference is `exclude`.")
    ] = False,
    pictures: PicturesOption = True,
    workers: WorkersOption = 2,
) -> None:
    """Score predicted masks against the reference masks.

    Computes Dice, false positives and negatives, and boundary distances, for each case and for groups of cases. Writes
    the scores of each case (cases.csv), the paper's tables (CSV and Markdown), statistical tests, and report.html.

    If a prediction is missing, belongs to no case, or has another grid or other labels, it is reported, nothing is
    averaged, and the exit status is 1.

    Example: maseg evaluate -p predictions -d 506 -o report
    """
    from maseg_nnunet.cli.report_tables import problems_listed, show_tables
    from maseg_nnunet.dataset.cases import select_rows
    from maseg_nnunet.dataset.folders import find_dataset
    from maseg_nnunet.evaluation.comparison import write_comparison
    from maseg_nnunet.evaluation.output import write_evaluation
    from maseg_nnunet.evaluation.pictures import draw_pictures
    from maseg_nnunet.evaluation.scoring import parse_merge, score_folder

    merge = parse_merge(labels) if labels else None
    folder = find_dataset(dataset)
    rows = select_rows(folder, split, intent)
    with problems_listed():
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
    show_tables(shown, report)

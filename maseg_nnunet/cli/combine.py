"""`maseg combine`: one data set from several converted ones."""

from __future__ import annotations

import re
from enum import Enum
from typing import Annotated

import typer


class IntentChoice(str, Enum):
    """Which digital images the combined set takes from its parts."""

    PROCESSED = "processed"
    BOTH = "both"


def combine(
    parts: Annotated[list[int], typer.Argument(help="Numbers of the converted data sets.")],
    dataset: Annotated[
        int, typer.Option("-d", "--dataset", metavar="NUMBER", min=1, max=999, help="Number of the combined data set.")
    ] = 500,
    intent: Annotated[
        IntentChoice,
        typer.Option(help="Images to include: processed (and film), as in experiment 1, or both processed and raw."),
    ] = IntentChoice.PROCESSED,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name of the combined data set: letters, digits and _.",
            show_default="Maseg, or MasegRaw with --intent both",
        ),
    ] = None,
    cross_validation: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=20,
            help="Number of extra folds. Each holds out a different share of the women who are not in the test set.",
        ),
    ] = 0,
) -> None:
    """Combine converted data sets into one.

    No image is copied: the combined set refers to its parts, so keep them. Fold 0 is the paper's split. Fold 1 leaves
    the first data set out of training and validation, fold 2 the second, and so on. The command prints the file that
    lists the folds.

    Example: maseg combine -d 500 501 502 503 504 505 506 507 508
    """
    from maseg_nnunet.dataset.folders import FOLDS, RAW, nnunet_folder
    from maseg_nnunet.dataset_conversion.combine import combine as make
    from maseg_nnunet.errors import UsageError

    if name is not None and not re.fullmatch(r"\w+", name, re.ASCII):
        raise UsageError(f"--name {name}: use only letters, digits and _, because it names a folder")
    folder = make(
        nnunet_folder(RAW),
        dataset,
        parts,
        raw_images=intent is IntentChoice.BOTH,
        name=name,
        cross_validation=cross_validation,
        warn=lambda text: typer.echo(f"warning: {text}", err=True),
    )
    typer.echo(f"written to {folder}; its folds are listed in {folder / FOLDS}")

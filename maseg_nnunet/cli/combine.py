"""`maseg combine`: several converted data sets as one."""

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
    dataset: Annotated[int, typer.Option("-d", "--dataset", min=1, max=999, help="Number of the combined set.")] = 500,
    intent: Annotated[
        IntentChoice, typer.Option(help="processed leaves raw images out, as experiment 1 does; both keeps them.")
    ] = IntentChoice.PROCESSED,
    name: Annotated[
        str | None, typer.Option(help="Name of the combined set.", show_default="Maseg, or MasegRaw with raw images")
    ] = None,
    cross_validation: Annotated[
        int,
        typer.Option(min=0, max=20, help="Add so many folds, each of which holds another share of the women back."),
    ] = 0,
) -> None:
    """Combine converted data sets into one, with folds that leave one of them out; no image is copied.

    Example: maseg combine -d 500 501 502 503 504 505 506 507 508
    """
    from maseg_nnunet.dataset.folders import FOLDS, RAW, nnunet_folder
    from maseg_nnunet.dataset_conversion.combine import combine as make
    from maseg_nnunet.errors import UsageError

    if name is not None and not re.fullmatch(r"\w+", name, re.ASCII):
        raise UsageError(f"--name {name}: letters, digits and _ only, it becomes a folder")
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

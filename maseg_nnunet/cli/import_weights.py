"""`maseg import-weights`: a model folder from the published checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maseg_nnunet.cli.options import ModelFolderOption


def import_weights(
    checkpoint: Annotated[Path, typer.Argument(help="The published file segmentation_weights.ckpt.")],
    output: ModelFolderOption,
) -> None:
    """Make a model folder from the published weights.

    The weights are those that the authors of the paper published. The folder works with maseg predict --model and with
    nnU-Net. A checkpoint that contains code is rejected and never run.

    Example: maseg import-weights segmentation_weights.ckpt -o published
    """
    from maseg_nnunet.models.published import import_weights as make_folder

    folder = make_folder(checkpoint, output)
    typer.echo(f"Model: {folder}")
    typer.echo(f"Next: maseg predict exams/ -o out/ --model {folder}")

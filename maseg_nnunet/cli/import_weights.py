"""`maseg import-weights`: the published model as a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_weights(
    checkpoint: Annotated[Path, typer.Argument(help="segmentation_weights.ckpt of the published model.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Model folder to make.")],
) -> None:
    """Turn the published model's checkpoint into a model folder for maseg predict and nnU-Net.

    The file is read as weights alone: one that holds code is refused.

    Example: maseg import-weights segmentation_weights.ckpt -o published
    """
    from maseg_nnunet.models.published import import_weights as make_folder

    folder = make_folder(checkpoint, output)
    typer.echo(f"Model: {folder}")
    typer.echo(f"Next: maseg predict exams/ -o out/ --model {folder}")

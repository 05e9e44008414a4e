"""`maseg package`: a trained model made ready to share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maseg_nnunet.cli.options import ModelFolderOption


def package(
    trained: Annotated[Path, typer.Argument(help="Model folder that nnUNetv2_train wrote, or a ZIP of it.")],
    output: ModelFolderOption,
) -> None:
    """Make a small copy of a trained model, to share it.

    The copy has the weights in half precision, and neither the optimizer's state nor the names of the training cases.
    It works with maseg predict --model and with nnU-Net.

    \b
    Example:
      maseg package -o model \\
          nnunet/nnUNet_results/Dataset500_Maseg/MasegTrainerVaried__maseg_lite__2d
    """
    from maseg_nnunet.models.packaging import package as make_folder

    folder = make_folder(trained, output)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    typer.echo(f"Model: {folder}, {size / 2**20:.1f} MiB")
    typer.echo(f"Next: maseg predict exams/ -o out/ --model {folder}")

"""`maseg package`: a trained model made fit to be passed on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def package(
    trained: Annotated[Path, typer.Argument(help="Model folder that nnUNetv2_train left, or a ZIP of it.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Model folder to make.")],
) -> None:
    """Make a trained model small and nameless: weights in half precision, no optimizer, no names of cases.

    Example: maseg package nnunet/nnUNet_results/Dataset500_Maseg/MasegTrainerVaried__maseg_lite__2d -o model
    """
    from maseg_nnunet.models.packaging import package as make_folder

    folder = make_folder(trained, output)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    typer.echo(f"Model: {folder}, {size / 2**20:.1f} MiB")
    typer.echo(f"Next: maseg predict exams/ -o out/ --model {folder}")

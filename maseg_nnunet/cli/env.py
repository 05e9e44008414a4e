"""`maseg env`: the environment variables that nnU-Net's commands need."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer


def env(
    base: Annotated[
        Path, typer.Option(help="Folder for nnU-Net's three folders, where they are not set already.")
    ] = Path("nnunet"),
) -> None:
    """Print the lines that set nnU-Net's folders and show it MasegTrainer.

    Example: eval "$(maseg env --base /data/nnunet)"
    """
    from maseg_nnunet.dataset.folders import EXTERNAL_TRAINER, PREPROCESSED, RAW, RESULTS, external_trainers

    for variable in (RAW, PREPROCESSED, RESULTS):
        value = os.environ.get(variable) or str((base / variable).resolve())
        typer.echo(f"export {variable}={shlex.quote(value)}")
    typer.echo(f"export {EXTERNAL_TRAINER}={shlex.quote(external_trainers())}")

"""`maseg env`: the environment variables that nnU-Net's commands need."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer


def env(
    base: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder for those of nnU-Net's folders that are not set yet.")
    ] = Path("nnunet"),
) -> None:
    """Print the environment variables that nnU-Net needs.

    They name nnU-Net's folders for raw data, preprocessed data and results, and the folder of MasegTrainer. Variables
    that are set already keep their values. Run the printed lines in your shell, as in the example.

    Example: eval "$(maseg env --base /data/nnunet)"
    """
    from maseg_nnunet.dataset.folders import EXTERNAL_TRAINER, PREPROCESSED, RAW, RESULTS, external_trainers

    for variable in (RAW, PREPROCESSED, RESULTS):
        value = os.environ.get(variable) or str((base / variable).resolve())
        typer.echo(f"export {variable}={shlex.quote(value)}")
    typer.echo(f"export {EXTERNAL_TRAINER}={shlex.quote(external_trainers())}")

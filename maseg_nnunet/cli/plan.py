"""`maseg plan`: a plans file, and preprocessed data, from a template."""

from __future__ import annotations

from typing import Annotated

import typer


def plan(
    dataset: Annotated[int, typer.Option("-d", "--dataset", help="Number of the data set in nnUNet_raw.")],
    plans: Annotated[str, typer.Option("-p", "--plans", help="Template: maseg_paper, maseg_lite or maseg_demo.")],
    preprocess: Annotated[bool, typer.Option(help="Preprocess the images as well.")] = True,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Fill in a plan template for a data set and preprocess it, so that nnUNetv2_train can start.

    Safe to run again: what is up to date is left alone, an interrupted preprocessing is done again.

    Example: maseg plan -d 506 --plans maseg_lite
    """
    from maseg_nnunet.dataset.planning import plan as make_plan

    path = make_plan(dataset, plans, preprocess=preprocess, workers=workers)
    typer.echo(f"Plans: {path}")
    if preprocess:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        typer.echo(f"Next: nnUNetv2_train {dataset} 2d 0 -p {plans} -tr MasegTrainer -device {device}")

"""`maseg plan`: a plans file and preprocessed data, from a template."""

from __future__ import annotations

from typing import Annotated

import typer

from maseg_nnunet.cli.options import DatasetOption, PlansOption, WorkersOption


def plan(
    dataset: DatasetOption,
    plans: PlansOption,
    preprocess: Annotated[bool, typer.Option(help="Preprocess the images after planning.")] = True,
    workers: WorkersOption = 2,
    overwrite_splits: Annotated[
        bool, typer.Option(help="Replace a splits_final.json in nnUNet_preprocessed that you have written yourself.")
    ] = False,
) -> None:
    """Plan and preprocess a data set for training.

    Reads the data set from nnUNet_raw and writes to nnUNet_preprocessed. maseg_paper is the paper's network, maseg_lite
    the packaged model's, which is smaller, and maseg_demo the demo's. The command prints the line that starts training.

    You can run it again at any time: it does only what is missing, out of date or was interrupted.

    Example: maseg plan -d 506 --plans maseg_lite
    """
    from maseg_nnunet.dataset.planning import DEMO_PLANS
    from maseg_nnunet.dataset.planning import plan as make_plan

    path = make_plan(dataset, plans, preprocess=preprocess, workers=workers, overwrite_splits=overwrite_splits)
    typer.echo(f"Plans: {path}")
    if preprocess:
        from maseg_nnunet.models.precision import best_device

        trainer = "MasegTrainerDemo" if plans == DEMO_PLANS else "MasegTrainer"
        typer.echo(f"Next: nnUNetv2_train {dataset} 2d 0 -p {plans} -tr {trainer} -device {best_device()} --c")

"""`maseg sweep`: the trainings of the paper's Table 4, and their scores."""

from __future__ import annotations

from typing import Annotated

import typer

from maseg_nnunet.cli.options import (
    DatasetOption,
    DryRunOption,
    GpusOption,
    PlansOption,
    SchedulerOption,
    TrainingDeviceOption,
)


def sweep(
    dataset: DatasetOption,
    plans: PlansOption = "maseg_paper",
    fold: Annotated[
        int, typer.Option("-f", "--fold", metavar="NUMBER", min=0, help="Fold to train on; 0 is the paper's split.")
    ] = 0,
    device: TrainingDeviceOption = "auto",
    gpus: GpusOption = "",
    scheduler: SchedulerOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Compare losses and class weights (the paper's Table 4).

    Trains eight models on one fold, with two losses and four weights of the pectoral muscle each, prints the Dice of
    the validation set, and names the best. Run maseg plan first.

    Run the same command again after an interruption: finished trainings are skipped, and started ones continue.

    Example: maseg sweep -d 500 --plans maseg_paper --gpus 0,1
    """
    from rich.console import Console
    from rich.table import Table

    from maseg_nnunet.dataset.folders import PREPROCESSED, RESULTS, dataset_folder, nnunet_folder
    from maseg_nnunet.errors import ModelError
    from maseg_nnunet.experiments import loss_sweep as library
    from maseg_nnunet.experiments.steps import run_steps
    from maseg_nnunet.models.precision import best_device
    from maseg_nnunet.parallel.commands import commands_end_with_us, gpu_numbers

    device = best_device() if device == "auto" else device
    numbers = gpu_numbers(gpus, device)
    planned = f"run `maseg plan -d {dataset} --plans {plans}`"
    folder = dataset_folder(nnunet_folder(PREPROCESSED), dataset, first=planned)
    steps = library.plan_sweep(folder.name, plans, fold, device)
    console = Console()
    if dry_run:
        for variant, step in zip(library.TABLE_4, steps, strict=True):
            console.print(f"{variant.loss} {variant.alpha}: {library.state(step)}", style="bold", highlight=False)
            console.print(step.shell, soft_wrap=True, highlight=False)
        return
    failed = []
    with commands_end_with_us():
        for step, problem in run_steps(steps, gpus=numbers, scheduler=scheduler or None):
            outcome = problem or "finished"
            console.print(f"{step.title}: {outcome}", soft_wrap=True, highlight=False, markup=False)
            failed += [step.title] if problem else []
    scores = library.score_sweep(steps, folder)
    best = library.winner(scores)
    table = Table("Loss", "alpha pectoral", "Breast", "Pectoral", "images, with muscle", "Trainer")
    for row in scores:
        variant, mark = row.variant, "*" if row is best else ""
        dice = [f"{mean:.3f} ± {deviation:.3f}" for mean, deviation in (row.breast, row.pectoral)]
        table.add_row(variant.loss, f"{variant.alpha}{mark}", *dice, f"{row.images}, {row.visible}", variant.trainer)
    if scores:
        path = nnunet_folder(RESULTS).absolute() / folder.name / f"sweep_{plans}_fold{fold}.csv"
        library.write_table(path, scores)
        console.print(table)
        console.print(f"Dice of the validation set, mean ± standard deviation; also in {path}", soft_wrap=True)
    if best is not None:
        of = "" if len(scores) == len(steps) else f" among {len(scores)} finished trainings of {len(steps)}"
        console.print(f"Winner{of} by pectoral Dice: {best.variant.loss} {best.variant.alpha}, {best.variant.trainer}")
    if failed:
        raise ModelError(f"{len(failed)} trainings failed: {', '.join(failed)}; see their logs, named above")

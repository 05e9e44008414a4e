"""`maseg sweep`: the trainings of the paper's Table 4, and the table."""

from __future__ import annotations

from typing import Annotated

import typer


def sweep(
    dataset: Annotated[int, typer.Option("-d", "--dataset", help="Number of the data set, planned and preprocessed.")],
    plans: Annotated[str, typer.Option("-p", "--plans", help="Plans, as given to maseg plan.")] = "maseg_paper",
    fold: Annotated[int, typer.Option("-f", "--fold", min=0, help="Fold; 0 is the paper's split.")] = 0,
    device: Annotated[str, typer.Option(help="cuda, cpu or mps.")] = "cuda",
    gpus: Annotated[str, typer.Option(help="Numbers of GPUs, such as 0,1,2: one training at a time on each.")] = "",
    scheduler: Annotated[str, typer.Option(help="Address of a Dask scheduler: one training a worker.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the commands, run nothing.")] = False,
) -> None:
    """Train with both losses and four weights of the pectoral muscle, and name the best (the paper's Table 4).

    Finished trainings are skipped and started ones go on, so the same command serves after an interruption; when all
    are finished it only prints the table.

    Example: maseg sweep -d 500 --plans maseg_paper --gpus 0,1
    """
    from rich.console import Console
    from rich.table import Table

    from maseg_nnunet.dataset.folders import PREPROCESSED, dataset_folder, nnunet_folder
    from maseg_nnunet.errors import ModelError
    from maseg_nnunet.experiments import loss_sweep as library
    from maseg_nnunet.parallel.commands import commands_end_with_us, gpu_numbers

    numbers = gpu_numbers(gpus, device)
    planned = f"run `maseg plan -d {dataset} --plans {plans}`"
    folder = dataset_folder(nnunet_folder(PREPROCESSED), dataset, first=planned)
    trainings = library.plan_sweep(folder.name, plans, fold, device)
    console = Console()
    if dry_run:
        for training in trainings:
            variant = training.variant
            console.print(f"{variant.loss} {variant.alpha}: {training.state}", style="bold", highlight=False)
            console.print(" ".join(training.command), soft_wrap=True, highlight=False)
        return
    failed = []
    with commands_end_with_us():
        for training, problem in library.run_sweep(trainings, gpus=numbers, scheduler=scheduler or None):
            outcome = problem or "finished"
            console.print(f"{training.variant.trainer}: {outcome}", soft_wrap=True, highlight=False, markup=False)
            failed += [training.variant.trainer] if problem else []
    scores = [library.score(training) for training in trainings if training.state == "finished"]
    best = library.winner(scores)
    table = Table("Loss", "alpha pectoral", "Breast", "Pectoral", "images, with muscle", "Trainer")
    for row in scores:
        variant, mark = row.variant, "*" if row is best else ""
        dice = [f"{mean:.3f} ± {deviation:.3f}" for mean, deviation in (row.breast, row.pectoral)]
        table.add_row(variant.loss, f"{variant.alpha}{mark}", *dice, f"{row.images}, {row.visible}", variant.trainer)
    if scores:
        path = trainings[0].output.parents[1] / f"sweep_{plans}_fold{fold}.csv"
        library.write_table(path, scores)
        console.print(table)
        console.print(f"Dice of the validation set, mean ± standard deviation; also in {path}", soft_wrap=True)
    if best is not None:
        of = "" if len(scores) == len(trainings) else f" of the {len(scores)} of {len(trainings)} that are finished"
        console.print(f"Winner{of} by pectoral Dice: {best.variant.loss} {best.variant.alpha}, {best.variant.trainer}")
    if failed:
        raise ModelError(f"{len(failed)} trainings failed: {', '.join(failed)}; their logs are named above")

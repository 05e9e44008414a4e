"""`maseg experiments`: the paper's three experiments from vendor data to tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from maseg_nnunet.experiments import paper as library


def experiments(
    experiment: Annotated[
        int, typer.Argument(min=1, max=3, help="1 views and vendors, 2 with raw images, 3 vendors left out.")
    ],
    dataset: Annotated[int, typer.Option("-d", "--dataset", help="Number of the combined set.")] = 500,
    dataset_raw: Annotated[int, typer.Option(help="Number of the combined set with raw images.")] = 510,
    data: Annotated[
        Path | None,
        typer.Option(
            help="CSV with the columns name, input, masks: the data sets to convert, as convert_vendor takes them.",
            show_default="the paper's data sets that are converted already",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of predictions, logs and tables.")] = Path(
        "experiments"
    ),
    plans: Annotated[str, typer.Option("-p", "--plans", help="Plans template of maseg plan.")] = "maseg_paper",
    trainer: Annotated[str, typer.Option("-tr", "--trainer", help="Trainer.")] = "MasegTrainer",
    device: Annotated[str, typer.Option(help="cuda, cpu or mps.")] = "cuda",
    gpus: Annotated[str, typer.Option(help="Numbers of GPUs, such as 0,1,2: one training at a time on each.")] = "",
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler: conversion, trainings, predictions run there.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes for conversion and preprocessing.")] = 2,
    pictures: Annotated[bool, typer.Option(help="Show the cases in report.html.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the commands, run nothing.")] = False,
) -> None:
    """Repeat one of the paper's experiments: convert, combine, plan, train, predict, and its tables.

    What is finished is not run again, so the same command goes on after an interruption. Each step is a command that
    --dry-run shows; what it prints lies in its log.

    Example: maseg experiments -d 500 3 --data data.csv --gpus 0,1
    """
    from maseg_nnunet.cli.evaluate import show
    from maseg_nnunet.errors import UsageError
    from maseg_nnunet.evaluation.scoring import ProblemsError
    from maseg_nnunet.experiments import paper as library
    from maseg_nnunet.experiments.steps import run_phases
    from maseg_nnunet.parallel.commands import commands_end_with_us, gpu_numbers

    if scheduler and gpus:
        raise UsageError("--gpus is for this machine; with --scheduler every worker uses its own GPU")
    numbers = gpu_numbers(gpus, device)
    setup = library.Setup(
        parts=_parts(data), output=output.absolute(), combined=dataset, with_raw=dataset_raw, plans=plans,
        trainer=trainer, device=device, workers=workers, scheduler=scheduler,
    )  # fmt: skip
    phases = library.phases(experiment, setup)
    if dry_run:
        for step in (step for phase in phases for step in phase()):
            typer.echo(f"# {step.title}: {'done' if step.is_done else 'to do'}")
            if step.links:
                typer.echo(f"# {step.links[0][0].parent}: {len(step.links)} links to images, made first")
            typer.echo(step.shell)
        typer.echo(f"# tables: {setup.report(experiment)}")
        return
    library.check_output(setup)
    with commands_end_with_us():
        for step, problem in run_phases(phases, gpus=numbers, scheduler=scheduler):
            typer.echo(f"{step.title}: {problem or 'finished'}", err=bool(problem))
    try:
        shown = library.write_tables(experiment, setup, pictures=pictures)
    except ProblemsError as error:
        for found in error.problems:
            typer.echo(str(found), err=True)
        raise
    for table in shown:
        show(table)
    typer.echo(f"Written to {setup.report(experiment)}")


def _parts(data: Path | None) -> tuple[library.ExperimentPart, ...]:
    """The data sets of `data`, or the paper's that are converted, in the order of their numbers."""
    from maseg_nnunet.dataset.folders import RAW, nnunet_folder
    from maseg_nnunet.dataset_conversion.datasets import REGISTRY
    from maseg_nnunet.errors import UsageError
    from maseg_nnunet.evaluation.tables import DATASETS
    from maseg_nnunet.experiments.paper import ExperimentPart, read_sources

    known = {key: (dataset.dataset_id, dataset.folder) for key, dataset in REGISTRY.items()}
    if data is not None:
        sources = read_sources(data)
        if unknown := set(sources) - set(known):
            raise UsageError(f"{data}: {', '.join(sorted(unknown))} is no data set, there are {', '.join(known)}")
        parts = [ExperimentPart(key, *known[key], *places) for key, places in sources.items()]
    else:
        parts = [ExperimentPart(key, *known[key]) for key in DATASETS if (nnunet_folder(RAW) / known[key][1]).is_dir()]
        if not parts:
            raise UsageError(
                f"{nnunet_folder(RAW)} holds none of the paper's data sets: name their sources with --data"
            )
    return tuple(sorted(parts, key=lambda part: part.dataset_id))

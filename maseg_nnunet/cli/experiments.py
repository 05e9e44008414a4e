"""`maseg experiments`: the paper's three experiments, from vendor data to tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maseg_nnunet.cli.options import (
    DryRunOption,
    GpusOption,
    PicturesOption,
    PlansOption,
    SchedulerOption,
    TrainingDeviceOption,
    WorkersOption,
)

if TYPE_CHECKING:
    from maseg_nnunet.experiments import paper as library


def experiments(
    experiment: Annotated[
        int,
        typer.Argument(
            min=1,
            max=3,
            help="1: processed images and film. 2: raw images too. 3: each data set left out of training once.",
        ),
    ],
    dataset: Annotated[
        int,
        typer.Option("-d", "--dataset", metavar="NUMBER", help="Number of the combined set without raw images."),
    ] = 500,
    dataset_raw: Annotated[
        int, typer.Option(metavar="NUMBER", help="Number of the combined set with raw images, for experiment 2.")
    ] = 510,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="Data sets to convert: a CSV with the columns name, input and masks, as for convert_vendor.",
            show_default="use the paper's data sets that are converted already",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder for predictions, logs and tables.")
    ] = Path("experiments"),
    plans: PlansOption = "maseg_paper",
    trainer: Annotated[
        str, typer.Option("-tr", "--trainer", metavar="NAME", help="Class name of the trainer.")
    ] = "MasegTrainer",
    device: TrainingDeviceOption = "auto",
    gpus: GpusOption = "",
    scheduler: SchedulerOption = None,
    workers: WorkersOption = 2,
    pictures: PicturesOption = True,
    dry_run: DryRunOption = False,
) -> None:
    """Repeat one of the paper's three experiments.

    Converts, combines, plans, trains and predicts, and prints the experiment's tables. Each step is a command that
    --dry-run shows, and has a log file in the output folder. With --scheduler, conversion, training and prediction run
    on the cluster.

    Run the same command again after an interruption: finished steps are skipped.

    Example: maseg experiments 3 -d 500 --data data.csv --gpus 0,1
    """
    from maseg_nnunet.cli.report_tables import problems_listed, show_tables
    from maseg_nnunet.errors import UsageError
    from maseg_nnunet.experiments import paper as library
    from maseg_nnunet.experiments.steps import run_phases
    from maseg_nnunet.models.precision import best_device
    from maseg_nnunet.parallel.commands import commands_end_with_us, gpu_numbers

    if scheduler and gpus:
        raise UsageError("--gpus is for this machine; with --scheduler every worker uses its own GPU")
    device = best_device() if device == "auto" else device
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
                typer.echo(f"# {step.links[0][0].parent}: {len(step.links)} links to images, created first")
            typer.echo(step.shell)
        typer.echo(f"# tables: {setup.report(experiment)}")
        return
    library.check_output(setup)
    with commands_end_with_us():
        for step, problem in run_phases(phases, gpus=numbers, scheduler=scheduler):
            typer.echo(f"{step.title}: {problem or 'finished'}", err=bool(problem))
    with problems_listed():
        tables = library.write_tables(experiment, setup, pictures=pictures)
    show_tables(tables, setup.report(experiment))


def _parts(data: Path | None) -> tuple[library.ExperimentPart, ...]:
    """The data sets in `data`, or those of the paper that are converted, in the order of their numbers."""
    from maseg_nnunet.dataset.folders import RAW, nnunet_folder
    from maseg_nnunet.dataset_conversion.datasets import REGISTRY
    from maseg_nnunet.errors import UsageError
    from maseg_nnunet.evaluation.tables import DATASETS
    from maseg_nnunet.experiments.paper import ExperimentPart, read_sources

    known = {key: (dataset.dataset_id, dataset.folder) for key, dataset in REGISTRY.items()}
    if data is not None:
        sources = read_sources(data)
        if unknown := set(sources) - set(known):
            raise UsageError(f"{data}: {', '.join(sorted(unknown))} is not a data set, choose from {', '.join(known)}")
        parts = [ExperimentPart(key, *known[key], *places) for key, places in sources.items()]
    else:
        parts = [ExperimentPart(key, *known[key]) for key in DATASETS if (nnunet_folder(RAW) / known[key][1]).is_dir()]
        if not parts:
            raise UsageError(f"{nnunet_folder(RAW)} has none of the paper's data sets: name their sources with --data")
    return tuple(sorted(parts, key=lambda part: part.dataset_id))

"""The command `convert_vendor`: a vendor's data set to nnU-Net raw format. The work is in `convert_dataset.py`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maseg_nnunet.console import run
from maseg_nnunet.dataset_conversion.datasets import REGISTRY
from maseg_nnunet.parallel.signals import interrupted_by_sigterm
from maseg_nnunet.parallel.threads import usable_cores

if TYPE_CHECKING:
    from maseg_nnunet.dataset_conversion.convert_dataset import Request

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Name = Enum("Name", {key: key for key in REGISTRY}, type=str)  # type: ignore[misc]  # the choices are the registry's


class IntentChoice(str, Enum):
    """Which digital images are converted; films always count as processed."""

    PROCESSED = "processed"
    RAW = "raw"
    BOTH = "both"


@app.command(no_args_is_help=True)
def convert_vendor(
    name: Annotated[Name, typer.Option(help="The data set.")],
    input_: Annotated[Path, typer.Option("--input", "-i", help="Folder of the images, of any depth.")],
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Reference masks: a folder (found by SOPInstanceUID, file name or case) or a CSV with the columns "
            "image and mask. Without it the images are converted as exams to be predicted, into one flat folder.",
            show_default=False,
        ),
    ] = None,
    dataset_id: Annotated[
        int | None, typer.Option(help="nnU-Net's number of the data set.", show_default="the data set's own")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="With masks: the folder in which DatasetNNN_Name is made. Without: the flat folder of the exams.",
            show_default="$nnUNet_raw",
        ),
    ] = None,
    intent: Annotated[IntentChoice, typer.Option(help="Which digital images.")] = IntentChoice.PROCESSED,
    spacing: Annotated[
        float, typer.Option(min=0.0, max=2.0, help="Pixel spacing of the result in mm; 0 keeps the source's grid.")
    ] = 0.4,
    spacing_mm: Annotated[
        float | None,
        typer.Option(help="Pixel spacing, in mm, of sources that state none.", show_default="refuse them"),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="What the masks' values mean, e.g. breast=255,pectoral=128; 0 is background, others are refused.",
            show_default="1 breast, 2 pectoral muscle",
        ),
    ] = None,
    raw_windows: Annotated[bool, typer.Option(help="Use the windows in the headers of raw images.")] = False,
    trim_masks: Annotated[
        bool,
        typer.Option(
            help="Call background what of a mask lies on the black beyond film or breast (the lowest value, up to the "
            "image's edge), where masks made by a threshold spread."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the drawing of women into train, validation and test.")] = 0,
    split_file: Annotated[
        Path | None,
        typer.Option(help="CSV with the columns image (woman, case or file name) and subset, in place of the drawing."),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="32 random bytes that pseudonyms are made with.", show_default="made once for this user"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine.", show_default="usable cores")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler to run on instead of local processes.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Convert everything anew.")] = False,
) -> None:
    """Convert a vendor's data set, with masks for training or without for prediction, to nnU-Net raw format.

    A file that can't be used is a line of rejected.csv, and the rest goes on; the exit status is 1 if nothing could be
    converted. An interrupted run goes on when the same command is run again.

    Example: convert_vendor --name mini_mias --input mini_mias --masks mini_mias_masks
    """
    from dataclasses import replace

    from maseg_nnunet.dataset.folders import RAW, nnunet_folder
    from maseg_nnunet.dataset_conversion.convert_case import ConversionSettings
    from maseg_nnunet.dataset_conversion.convert_dataset import Request
    from maseg_nnunet.errors import UsageError
    from maseg_nnunet.mammogram import Intent

    dataset = REGISTRY[name.value]
    if dataset_id is not None:
        if not 1 <= dataset_id <= 999:
            raise UsageError(f"--dataset-id {dataset_id}: nnU-Net's numbers go from 1 to 999")
        dataset = replace(dataset, dataset_id=dataset_id)
    if masks is None and output is None:
        raise UsageError("without --masks these are exams to be predicted: name their folder with --output")
    base = output or nnunet_folder(RAW)
    intents = set(Intent) if intent is IntentChoice.BOTH else {Intent(intent.value)}
    request = Request(
        dataset=dataset,
        source=input_.absolute(),  # sources.csv must hold wherever it is read
        folder=(base / dataset.folder if masks is not None else base).absolute(),
        masks=None if masks is None else masks.absolute(),
        intents=frozenset(intents),
        settings=ConversionSettings(
            spacing=spacing,
            spacing_mm=spacing_mm,
            labels=_label_map(labels),
            raw_windows=raw_windows,
            trim_masks=trim_masks,
        ),
        seed=seed,
        split_file=split_file,
        key_file=key_file,
        overwrite=overwrite,
        workers=workers or usable_cores(),
        scheduler=scheduler,
    )
    # Workers do not notice that this process was ended, and would wait for ever.
    with interrupted_by_sigterm():
        report = _convert_with_progress(request)
    _show(request, report)


def _label_map(text: str | None) -> dict[int, int] | None:
    """`breast=255,pectoral=128` to {255: 1, 128: 2}. Raises UsageError on anything else."""
    from maseg_nnunet.errors import UsageError
    from maseg_nnunet.labels import Label

    if text is None:
        return None
    names = {"background": Label.BACKGROUND, "breast": Label.BREAST, "pectoral": Label.PECTORAL_MUSCLE}
    names["pectoral_muscle"] = Label.PECTORAL_MUSCLE
    mapping: dict[int, int] = {0: int(Label.BACKGROUND)}
    for part in text.split(","):
        label, _, value = part.partition("=")
        if label.strip() not in names or not value.strip().isdecimal():
            raise UsageError(f"--labels {text}: write breast=VALUE,pectoral=VALUE, values as in the mask files")
        if int(value) in mapping and int(value) != 0:
            raise UsageError(f"--labels {text}: the value {int(value)} is given twice")
        mapping[int(value)] = int(names[label.strip()])
    return mapping


def _convert_with_progress(request: Request) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    from maseg_nnunet.dataset_conversion.convert_dataset import convert_dataset

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(f"{task.speed:.1f}/s" if task.speed else "")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, Any] = {}

        def advance(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total, completed=done)
            bar.update(tasks[stage], completed=done, total=total)

        return convert_dataset(request, advance)


def _show(request: Request, report: dict[str, Any]) -> None:
    """Print what was found beside the paper's Table 1, and what was turned away. Raises DatasetError for nothing."""
    from rich.console import Console
    from rich.table import Table

    from maseg_nnunet.errors import DatasetError

    console = Console()
    table = Table(title=f"{request.dataset.title}", title_justify="left")
    for heading in ("", "converted", "published"):
        table.add_column(heading, justify="left" if not heading else "right")
    for key, text in (("images", "images"), ("women", "women"), ("raw_images", "raw images")):
        published = (report["published"] or {}).get(key)
        table.add_row(text, str(report["found"][key]), "-" if published is None else str(published))
    console.print(table)
    console.print(", ".join(f"{subset} {count}" for subset, count in report["subsets"].items()))
    passed = {"not DICOM": report["not_dicom"], **report["other_vendors"], "of another intent": report["other_intents"]}
    console.print("\n".join(f"passed over: {count} {what}" for what, count in passed.items() if count) or "")
    if report["women_with_more_than_36_images"]:
        console.print(
            f"warning: {report['women_with_more_than_36_images']} women have more than 36 images; "
            "does one PatientID stand for several?"
        )
    for reason, count in report["rejected"].items():
        console.print(f"rejected: {count} {reason}")
    if report["rejected"]:
        console.print(f"each with its reason in {request.folder / 'rejected.csv'}, its path in sources.csv")
    if not sum(report["subsets"].values()):
        raise DatasetError(f"nothing was converted: see {request.folder / 'rejected.csv'}")
    console.print(f"written to {request.folder}")


def main() -> None:
    """Entry point of the console script."""
    run(app)

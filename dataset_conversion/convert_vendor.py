"""The command `convert_vendor`: from a vendor's data set to nnU-Net raw format. The work is in `convert_dataset.py`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maseg_nnunet.console import WORKERS_HELP, RawWindowsOption, SchedulerOption, SpacingOption, run
from maseg_nnunet.dataset_conversion.datasets import REGISTRY
from maseg_nnunet.parallel.signals import interrupted_by_sigterm
from maseg_nnunet.parallel.threads import usable_cores

if TYPE_CHECKING:
    from maseg_nnunet.dataset_conversion.convert_dataset import Request

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Name = Enum("Name", {key: key for key in REGISTRY}, type=str)  # type: ignore[misc]  # the choices are the registry's


class IntentChoice(str, Enum):
    """Which digital images are converted. Films count as processed."""

    PROCESSED = "processed"
    RAW = "raw"
    BOTH = "both"


@app.command(no_args_is_help=True)
def convert_vendor(
    name: Annotated[Name, typer.Option(help="Data set to convert; dicom is for DICOM images of any vendor.")],
    input_: Annotated[
        Path, typer.Option("--input", "-i", metavar="FOLDER", help="Folder of the images, with any subfolders.")
    ],
    masks: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Reference masks: a folder, in which each mask is named by its image's SOPInstanceUID, file name or "
            "case, or a CSV with the columns image and mask.",
            show_default="none: convert exams to predict",
        ),
    ] = None,
    dataset_id: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            help="nnU-Net's number for the data set, from 1 to 999.",
            show_default="its own, such as 503 for fuji",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="With --masks, the folder in which DatasetNNN_NAME is created. Without, the folder for the converted "
            "exams, which is required.",
            show_default="$nnUNet_raw",
        ),
    ] = None,
    intent: Annotated[
        IntentChoice, typer.Option(help="Digital images to convert. Films are converted unless it is raw.")
    ] = IntentChoice.PROCESSED,
    spacing: Annotated[
        float,
        typer.Option(
            metavar="MM",
            min=0.0,
            max=2.0,
            help="Pixel spacing of the converted images, in mm; 0 keeps the original grid.",
        ),
    ] = 0.4,
    spacing_mm: SpacingOption = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=VALUE,...",
            help="Meaning of the values in the masks, such as breast=255,pectoral=128. 0 is background. A mask with "
            "any other value is rejected.",
            show_default="breast=1,pectoral=2",
        ),
    ] = None,
    raw_windows: RawWindowsOption = False,
    trim_masks: Annotated[
        bool,
        typer.Option(
            help="Set mask pixels on the black surround of the film or breast to background. Use it for masks made "
            "with a threshold."
        ),
    ] = False,
    seed: Annotated[
        int,
        typer.Option(metavar="NUMBER", help="Seed of the random split of women into training, validation and test."),
    ] = 0,
    split_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="CSV with the columns image (a woman, case or file name) and subset (train, val or test).",
            show_default="random split",
        ),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File of 32 random bytes, the key of the pseudonyms. The same key gives the same pseudonyms.",
            show_default="your own key, created once",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help=WORKERS_HELP, show_default="one per core"),
    ] = None,
    scheduler: SchedulerOption = None,
    overwrite: Annotated[
        bool, typer.Option(help="Convert all images again, also if the settings have changed.")
    ] = False,
) -> None:
    """Convert a vendor's data set to nnU-Net raw format.

    With --masks, the data set is converted for training and split into training, validation and test by woman. Without,
    exams are converted for nnUNetv2_predict, into one folder (maseg predict needs no conversion).

    A file that can't be used is listed with the reason in rejected.csv, and the others are converted. The exit status
    is 1 if nothing could be converted. After an interruption, run the same command again: it continues.

    \b
    Example:
      convert_vendor --name mini_mias --input mini_mias --masks mini_mias_masks
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
        raise UsageError("without --masks, exams are converted for prediction: name their folder with --output")
    base = output or nnunet_folder(RAW)
    intents = set(Intent) if intent is IntentChoice.BOTH else {Intent(intent.value)}
    request = Request(
        dataset=dataset,
        source=input_.absolute(),  # so that the paths in sources.csv are valid from any folder
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
    # Workers do not notice the end of this process, and would wait for ever.
    with interrupted_by_sigterm():
        report = _convert_with_progress(request)
    _show(request, report)


def _label_map(text: str | None) -> dict[int, int] | None:
    """Parse `breast=255,pectoral=128` to {0: 0, 255: 1, 128: 2}. Raises UsageError if the text has another form."""
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
    """Print what was converted beside the paper's Table 1, and what was not.

    Raises:
        DatasetError: Nothing was converted.
    """
    from rich.console import Console
    from rich.table import Table

    from maseg_nnunet.errors import DatasetError, Reason

    console = Console()
    table = Table(title=request.dataset.title, title_justify="left")
    for heading in ("", "converted", "published"):
        table.add_column(heading, justify="left" if not heading else "right")
    for key, text in (("images", "images"), ("women", "women"), ("raw_images", "raw images")):
        published = (report["published"] or {}).get(key)
        table.add_row(text, str(report["found"][key]), "-" if published is None else str(published))
    console.print(table)
    console.print(", ".join(f"{subset} {count}" for subset, count in report["subsets"].items()))
    skipped = {"not DICOM": report["not_dicom"], **report["other_vendors"]}
    skipped["of another intent"] = report["other_intents"]
    console.print("\n".join(f"skipped: {count} {what}" for what, count in skipped.items() if count) or "")
    for doubt, count in report["implausible_masks"].items():
        console.print(f"flagged: {count} {doubt}; their cases are in {request.folder / 'manifest.csv'}")
    if report["women_with_more_than_36_images"]:
        console.print(
            f"warning: {report['women_with_more_than_36_images']} women have more than 36 images; "
            "check that no PatientID is shared by several women"
        )
    for reason, count in report["rejected"].items():
        console.print(
            f"rejected: {count} file{'s' if count > 1 else ''}: {reason}: {Reason(reason).remedy}", soft_wrap=True
        )
    if report["rejected"]:
        console.print(f"the reason for each is in {request.folder / 'rejected.csv'}, its path in sources.csv")
    if not sum(report["subsets"].values()):
        raise DatasetError(f"nothing was converted: see {request.folder / 'rejected.csv'}")
    console.print(f"written to {request.folder}")


def main() -> None:
    """Entry point of the console script."""
    run(app)

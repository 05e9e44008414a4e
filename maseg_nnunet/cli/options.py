"""Options that several commands share: each has one name, one meaning and one help text, and is declared once.

A command annotates a parameter with one of these types and gives it the default. What an option does is up to the
command. `maseg --help` imports this module, so it imports nothing heavy. What
`convert_vendor` shares too is declared in `console.py`, because conversion does not import the commands of `maseg`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maseg_nnunet.console import WORKERS_HELP as WORKERS_HELP
from maseg_nnunet.console import RawWindowsOption as RawWindowsOption
from maseg_nnunet.console import SchedulerOption as SchedulerOption
from maseg_nnunet.console import SpacingOption as SpacingOption
from maseg_nnunet.console import WorkersOption as WorkersOption

InputsArgument = Annotated[
    list[Path],
    typer.Argument(
        help="DICOM, PNG, TIFF, PGM or JPEG files, folders of them, or text files (.txt) that list them, one per line.",
    ),
]
ResultsOption = Annotated[
    Path,
    typer.Option("-o", "--output", metavar="FOLDER", help="Folder for the results. It is created if it is missing."),
]
ModelFolderOption = Annotated[
    Path,
    typer.Option("-o", "--output", metavar="FOLDER", help="Model folder to write. It is created if it is missing."),
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="PATH",
        help="Model folder, or a ZIP of one.",
        show_default="$MASEG_MODEL, else the model in the package",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="Device that runs the network: cpu, cuda, cuda:N, mps, or auto for a GPU if there is one.",
    ),
]
TtaOption = Annotated[
    bool,
    typer.Option("--tta", help="Average the outputs for the image and its left-right mirror image. Slower."),
]
KeepLargestOption = Annotated[
    bool,
    typer.Option(
        "--keep-largest/--no-keep-largest",
        help="Keep only the largest breast, with its holes filled, and the largest muscle at the chest wall.",
    ),
]
FormatOption = Annotated[
    str,
    typer.Option(
        "--format", metavar="FORMATS", help="Formats of the masks, separated by commas: nifti, png, dicom-seg."
    ),
]
PreviewOption = Annotated[
    bool,
    typer.Option(
        "--preview", help="Also write pictures of the images with the edges of the breast (red) and the muscle (blue)."
    ),
]
StatisticsOption = Annotated[
    bool,
    typer.Option(
        "--statistics", help="Also write statistics.csv: areas (cm2), perimeter (mm) and flags of each image."
    ),
]
DatasetOption = Annotated[
    int,
    typer.Option(
        "-d", "--dataset", metavar="NUMBER", help="Number of the data set: NNN in the name of its folder, DatasetNNN_*."
    ),
]
PlansOption = Annotated[
    str,
    typer.Option(
        "-p", "--plans", metavar="NAME", help="Name of the plans template: maseg_paper, maseg_lite or maseg_demo."
    ),
]
TrainingDeviceOption = Annotated[
    str,
    typer.Option("--device", metavar="DEVICE", help="Device for nnU-Net's commands: auto, cuda, cpu or mps."),
]
GpusOption = Annotated[
    str,
    typer.Option(
        "--gpus",
        metavar="NUMBERS",
        help="Numbers of the GPUs to use, such as 0,1,2. Each runs one training or prediction at a time.",
        show_default="one after the other on --device",
    ),
]
PicturesOption = Annotated[
    bool,
    typer.Option("--pictures/--no-pictures", help="Show pictures of the cases in report.html."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the commands without running them.")]

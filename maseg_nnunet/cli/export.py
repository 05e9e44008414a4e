"""`maseg export`: masks of nnUNetv2_predict on the grids of the original files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maseg_nnunet.cli.options import (
    WORKERS_HELP,
    FormatOption,
    KeepLargestOption,
    PreviewOption,
    ResultsOption,
    StatisticsOption,
)


def export(
    masks: Annotated[Path, typer.Argument(help="Folder of masks that nnUNetv2_predict wrote.")],
    converted: Annotated[
        Path,
        typer.Option(
            "-c",
            "--converted",
            metavar="FOLDER",
            help="Folder that convert_vendor wrote, with manifest.csv and sources.csv.",
        ),
    ],
    output: ResultsOption,
    format_: FormatOption = "nifti",
    preview: PreviewOption = False,
    statistics: StatisticsOption = False,
    keep_largest: KeepLargestOption = False,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help=WORKERS_HELP, show_default="one per core")
    ] = None,
) -> None:
    """Bring nnU-Net's masks to the grids of the original images.

    Use it if you predicted converted exams with nnUNetv2_predict; maseg predict does everything in one step. Each case
    gives CASE.nii.gz, CASE.png or CASE_seg.dcm, depending on --format, and CASE_preview.png.

    A case whose mask is missing, unreadable or of another size is reported, and the others are exported. The exit
    status is then 1.

    \b
    Example:
      maseg export masks -c fuji_exams -o out --format nifti,dicom-seg \\
          --preview --statistics
    """
    from maseg_nnunet.errors import as_text
    from maseg_nnunet.parallel.threads import usable_cores
    from maseg_nnunet.writers.results import parse_formats

    formats = parse_formats(format_)
    from maseg_nnunet.prediction.export import ExportSettings, export_masks, write_statistics

    settings = ExportSettings(output, formats, preview=preview, keep_largest=keep_largest)
    outcomes = []
    for outcome in export_masks(masks, converted, settings, workers or usable_cores()):
        if outcome.problem:
            typer.echo(f"{outcome.case}: {outcome.problem}", err=True)
        outcomes.append(outcome)
    if statistics:
        write_statistics(output, outcomes)
    bad = sum(bool(outcome.problem) for outcome in outcomes)
    typer.echo(f"{len(outcomes) - bad} of {len(outcomes)} cases exported to {as_text(str(output))}")
    if bad:
        raise typer.Exit(1)

"""`maseg export`: masks of stock nnU-Net back onto the grids of the files they came from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    masks: Annotated[Path, typer.Argument(help="Folder of masks that nnUNetv2_predict wrote.", show_default=False)],
    converted: Annotated[
        Path, typer.Option("-c", "--converted", help="Folder that convert_vendor wrote: manifest.csv, sources.csv.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the results.")],
    format_: Annotated[
        str, typer.Option("--format", help="Formats of the masks, separated by commas: nifti, png, dicom-seg.")
    ] = "nifti",
    preview: Annotated[bool, typer.Option("--preview", help="Also write pictures with the two edges.")] = False,
    statistics: Annotated[
        bool, typer.Option("--statistics", help="Also write areas and flags, statistics.csv.")
    ] = False,
    keep_largest: Annotated[
        bool, typer.Option(help="Keep the largest breast, holes filled, and the largest muscle at the chest wall.")
    ] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads, a case each [default: one a core].")] = None,
) -> None:
    """Put masks of a converted folder back onto the grid of each source: CASE.nii.gz, CASE.png, CASE_seg.dcm.

    A case whose mask is missing, unreadable or of another size is named and the rest goes on; exit status 1.

    Example: maseg export masks -c fuji_exams -o out --format nifti,dicom-seg --preview --statistics
    """
    from maseg_nnunet.errors import as_text
    from maseg_nnunet.parallel.threads import usable_cores
    from maseg_nnunet.writers.results import parse_formats

    formats = parse_formats(format_)
    from maseg_nnunet.prediction.export import STATISTICS, ExportSettings, export_masks, write_statistics

    settings = ExportSettings(output, formats, preview=preview, keep_largest=keep_largest)
    outcomes = []
    for outcome in export_masks(masks, converted, settings, workers or usable_cores()):
        if outcome.problem:
            typer.echo(f"{outcome.case}: {outcome.problem}", err=True)
        outcomes.append(outcome)
    if statistics:
        write_statistics(output / STATISTICS, outcomes)
    bad = sum(bool(outcome.problem) for outcome in outcomes)
    typer.echo(f"{len(outcomes) - bad} of {len(outcomes)} cases exported to {as_text(str(output))}")
    if bad:
        raise typer.Exit(1)

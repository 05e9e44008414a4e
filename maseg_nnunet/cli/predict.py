"""`maseg predict`: exams in; masks, previews, statistics and a report out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maseg_nnunet.cli.options import (
    WORKERS_HELP,
    DeviceOption,
    FormatOption,
    InputsArgument,
    KeepLargestOption,
    ModelOption,
    PreviewOption,
    RawWindowsOption,
    ResultsOption,
    SchedulerOption,
    SpacingOption,
    StatisticsOption,
    TtaOption,
)
from maseg_nnunet.console import Problems
from maseg_nnunet.errors import as_text

if TYPE_CHECKING:
    from maseg_nnunet.prediction.journal import FileOutcome


def predict(
    inputs: InputsArgument,
    output: ResultsOption,
    model: ModelOption = None,
    format_: FormatOption = "nifti",
    preview: PreviewOption = False,
    statistics: StatisticsOption = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="NAME.json",
            help="Also write a report with this name into the output folder: counts, times, settings, all files.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    tta: TtaOption = False,
    keep_largest: KeepLargestOption = True,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help=WORKERS_HELP, show_default="one per core, at most 8")
    ] = None,
    scheduler: SchedulerOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Skip files that an earlier run finished with the same settings.")
    ] = False,
    spacing_mm: SpacingOption = None,
    raw_windows: RawWindowsOption = False,
    max_megapixels: Annotated[
        float, typer.Option(metavar="N", min=1, help="Reject images that have more megapixels.")
    ] = 120,
) -> None:
    """Segment mammograms into breast and pectoral muscle.

    Masks have each image's own grid and the values 0 (background), 1 (breast) and 2 (pectoral muscle). Results keep the
    path and name of the image: a/b/x.dcm gives a/b/x.nii.gz, x.png or x_seg.dcm, depending on --format, and
    x_preview.png. outcomes.jsonl has a line for each file.

    Files that can't be used are reported by their reason, and the others are segmented. The exit status is then 1.
    Interrupt with Ctrl-C, and continue with --resume. A model that was trained with --raw-windows uses it by itself.

    \b
    Example:
      maseg predict exams/ -o out --format nifti,dicom-seg \\
          --preview --statistics --report run.json
    """
    from maseg_nnunet.cli.progress import FileCounter
    from maseg_nnunet.models.folder import find_model
    from maseg_nnunet.parallel.signals import interrupted_by_sigterm
    from maseg_nnunet.writers.results import parse_formats

    formats = parse_formats(format_)
    found = find_model(model).absolute()
    from maseg_nnunet.errors import DatasetError
    from maseg_nnunet.prediction.journal import JOURNAL, Status
    from maseg_nnunet.prediction.predict import predict as run
    from maseg_nnunet.prediction.segment_file import PredictSettings

    problems = Problems()

    def count(outcome: FileOutcome) -> None:
        counter.advance()
        if outcome.status.is_bad:
            problems.add(outcome.status.value, outcome.file, outcome.detail)

    settings = PredictSettings(
        model=found,
        output=output.absolute(),
        formats=formats,
        preview=preview,
        statistics=statistics,
        device=device,
        tta=tta,
        keep_largest=keep_largest,
        spacing_mm=spacing_mm,
        raw_windows=raw_windows,
        max_megapixels=max_megapixels,
    )
    with interrupted_by_sigterm(), FileCounter("loading the model") as counter:
        try:
            summary = run(
                inputs,
                settings,
                workers=workers,
                scheduler=scheduler,
                resume=resume,
                report=report,
                progress=count,
            )
        finally:
            for line in problems.lines():
                counter.show(line)
    counts = ", ".join(f"{count} {status.value}" for status, count in summary.counts.most_common())
    typer.echo(f"{counts} in {summary.wall:.1f} s; results in {as_text(str(output))}")
    for flag, number in summary.flags.most_common():
        typer.echo(f"flagged: {number} {flag}")
    if summary.bad:
        typer.echo(f"the reason for each file is in {as_text(str(output / JOURNAL))}")
        raise typer.Exit(1)
    if set(summary.counts) == {Status.IGNORED}:
        raise DatasetError("no image was found")

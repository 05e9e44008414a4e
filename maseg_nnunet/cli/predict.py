"""`maseg predict`: exams in; masks, previews, statistics and a report out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maseg_nnunet.errors import as_text

if TYPE_CHECKING:
    from maseg_nnunet.prediction.journal import FileOutcome
    from maseg_nnunet.prediction.predict import Summary


def predict(
    inputs: Annotated[
        list[Path], typer.Argument(help="Files, folders, or lists of them (.txt, one a line): DICOM, PNG, PGM.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the results.")],
    model: Annotated[
        Path | None,
        typer.Option(help="Model folder or ZIP [default: the packaged model, else $MASEG_MODEL]."),
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", help="Formats of the masks, separated by commas: nifti, png, dicom-seg.")
    ] = "nifti",
    preview: Annotated[bool, typer.Option("--preview", help="Also write pictures with the two edges.")] = False,
    statistics: Annotated[
        bool, typer.Option("--statistics", help="Also write areas and flags, statistics.csv.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Also write a report of this name (.json) into the output folder.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    tta: Annotated[bool, typer.Option("--tta", help="Average with the left-right mirrored image.")] = False,
    keep_largest: Annotated[
        bool, typer.Option(help="Keep the largest breast, holes filled, and the largest muscle at the chest wall.")
    ] = True,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads, a file each [default: one a core, at most 8].")
    ] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler to run on instead.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Skip files whose results are all there.")] = False,
    spacing_mm: Annotated[
        float | None, typer.Option(min=0.02, max=1, help="Pixel spacing of files that do not tell it, in mm.")
    ] = None,
    raw_windows: Annotated[
        bool,
        typer.Option(
            "--raw-windows", help="Use the look-up tables of raw images, as a model trained on them does by itself."
        ),
    ] = False,
    max_megapixels: Annotated[float, typer.Option(min=1, help="Larger images are refused.")] = 120,
) -> None:
    """Segment mammograms into background (0), breast (1) and pectoral muscle (2), on each image's own grid.

    Results keep the input's path and stem: a/b/x.dcm gives OUT/a/b/x.nii.gz, x.png, x_seg.dcm and x_preview.png;
    statistics.csv, the report and outcomes.jsonl (one line a file, as they come) lie in OUT. A file that can't be
    used is named and the rest goes on; the exit status is then 1.

    Example: maseg predict exams/ -o out --format nifti,dicom-seg --preview --statistics --report run.json
    """
    from maseg_nnunet.models.folder import find_model
    from maseg_nnunet.parallel.signals import interrupted_by_sigterm
    from maseg_nnunet.writers.results import parse_formats

    formats = parse_formats(format_)
    found = find_model(model).absolute()
    from maseg_nnunet.errors import DatasetError
    from maseg_nnunet.prediction.journal import Status
    from maseg_nnunet.prediction.predict import predict as run
    from maseg_nnunet.prediction.segment_file import PredictSettings

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
    with interrupted_by_sigterm(), _Progress() as progress:
        summary = run(
            inputs, settings, workers=workers, scheduler=scheduler, resume=resume, report=report, progress=progress.show
        )
    _tell(summary, output)
    if summary.bad:
        raise typer.Exit(1)
    if set(summary.counts) == {Status.IGNORED}:
        raise DatasetError("no image was found")


class _Progress:
    """A line on stderr that counts, and one for each file that went wrong. How many there will be is not known."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
        console = Console(stderr=True)
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("loading the model", total=None)
        self._begin = time.monotonic()
        self._files = 0

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._bar.stop()

    def show(self, outcome: FileOutcome) -> None:
        """Count one file, and name it where it is bad."""
        self._files += 1
        rate = self._files / max(time.monotonic() - self._begin, 1e-3)
        self._bar.update(self._task, description=f"{self._files} files, {rate:.1f} a second")
        if outcome.status.is_bad:
            line = as_text(f"{outcome.status.value}: {outcome.file}: {outcome.detail}")
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _tell(summary: Summary, output: Path) -> None:
    counts = ", ".join(f"{count} {status.value}" for status, count in summary.counts.most_common())
    typer.echo(f"{counts} in {summary.wall:.1f} s; results in {as_text(str(output))}")

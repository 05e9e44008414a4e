"""`maseg annotate`: first masks for a person to correct in ITK-SNAP."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from maseg_nnunet.annotation import annotate as library


class Method(str, Enum):
    """How the first mask is made."""

    OTSU = "otsu"
    MODEL = "model"


def annotate(
    inputs: Annotated[list[Path], typer.Argument(help="Files, folders, or lists of them (.txt): DICOM, PNG, PGM.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the masks.")],
    method: Annotated[Method, typer.Option(help="otsu, the paper's initialization, or a trained model.")] = Method.OTSU,
    model: Annotated[
        Path | None, typer.Option(help="Model folder or ZIP for --method model.", show_default="as maseg predict")
    ] = None,
    spacing_mm: Annotated[
        float | None, typer.Option(min=0.02, max=1, help="Pixel spacing of files that do not tell it, in mm.")
    ] = None,
    view: Annotated[
        str | None, typer.Option(help="View of images that do not tell it, CC or MLO: Otsu marks muscle in MLO alone.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Folder of reference masks by name: shows how far the new ones are from them, report.csv."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make masks anew that are there already.")] = False,
) -> None:
    """Make first masks, with a picture and a ready ITK-SNAP workspace each, for a person to correct.

    Masks are NIfTI on the image's own grid, named by its stem; corrected, they are read by convert_vendor --masks. A
    mask that is there already is kept, since it may be corrected. The exit status is 1 if an image got none.

    Example: maseg annotate exams/ -o masks
    """
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from maseg_nnunet.annotation.annotate import REPORT, write_report
    from maseg_nnunet.annotation.annotate import annotate as run
    from maseg_nnunet.errors import DatasetError, UsageError, as_text
    from maseg_nnunet.mammogram import View

    try:
        projection = None if view is None else View(view.upper())
    except ValueError as error:
        raise UsageError(f"--view {view}: one of {', '.join(v.value for v in View if v.value)}") from error
    if model is not None and method is not Method.MODEL:
        raise UsageError("--model is for --method model")
    results: list[library.Annotated] = []
    with Progress(SpinnerColumn(), TextColumn("{task.completed} images"), TimeElapsedColumn()) as bar:
        task = bar.add_task("", total=None)
        for result in run(
            inputs,
            output,
            _annotator(method, model),
            spacing_mm=spacing_mm,
            view=projection,
            references=report,
            overwrite=overwrite,
        ):
            results.append(result)
            bar.advance(task)
    bad = [result for result in results if result.outcome not in ("written", "kept")]
    for result in bad:
        typer.echo(f"{as_text(result.name)}: {result.outcome}", err=True)
    unscored = [result for result in results if result.unscored]
    for result in unscored:
        typer.echo(f"{as_text(result.name)}: {result.unscored}", err=True)
    kept = sum(result.outcome == "kept" for result in results)
    typer.echo(f"{len(results) - len(bad) - kept} masks written, {kept} kept, in {output}")
    if report is not None:
        write_report(output / REPORT, results)
        _show(results, output / REPORT)
    if bad or not results:
        raise DatasetError(f"{len(bad)} of {len(results)} images got no mask" if bad else "no image was found")
    if unscored:
        raise DatasetError(f"{len(unscored)} of {len(results)} masks could not be compared with their references")


def _annotator(method: Method, model: Path | None) -> library.Annotator:
    if method is Method.OTSU:
        from maseg_nnunet.annotation.otsu import initial_mask

        return initial_mask
    from maseg_nnunet.prediction.segmenter import Segmenter

    segmenter = Segmenter(model)
    return segmenter.predict


def _show(results: list[library.Annotated], path: Path) -> None:
    """Print mean and median Dice of the images that had a reference."""
    import numpy as np

    scores = [result.score for result in results if result.score is not None]
    typer.echo(f"{len(scores)} images with a reference, Dice of each in {path}")
    for name in ("dice_breast", "dice_pectoral", "dice_overall"):
        values = np.array([getattr(score, name) for score in scores], dtype=float)
        values = values[~np.isnan(values)]
        if values.size:
            text = f"mean {values.mean():.3f} ± {values.std(ddof=1) if values.size > 1 else 0:.3f}"
            typer.echo(f"{name.replace('_', ' ')}: {text}, median {np.median(values):.3f} (n = {values.size})")

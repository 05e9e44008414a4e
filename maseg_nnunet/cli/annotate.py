"""`maseg annotate`: first masks for a person to correct in ITK-SNAP."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maseg_nnunet.cli.options import InputsArgument, ModelOption, SpacingOption

if TYPE_CHECKING:
    from maseg_nnunet.annotation import annotate as library


class Method(str, Enum):
    """How the first mask is made."""

    OTSU = "otsu"
    MODEL = "model"


def annotate(
    inputs: InputsArgument,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FOLDER", help="Folder for the masks. It is created if it is missing."),
    ],
    method: Annotated[
        Method, typer.Option(help="How to make the masks: by Otsu's threshold, as in the paper, or with --model.")
    ] = Method.OTSU,
    model: ModelOption = None,
    spacing_mm: SpacingOption = None,
    view: Annotated[
        str | None,
        typer.Option(
            metavar="VIEW",
            help="View of images that state none, CC or MLO. The method otsu marks muscle only in MLO views.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of reference masks with the images' names. Writes the Dice of each mask to report.csv.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Overwrite existing masks, including corrected ones.")
    ] = False,
) -> None:
    """Make first masks for a person to correct in ITK-SNAP.

    For each image a mask, a picture and an ITK-SNAP workspace that opens both are written. The mask is NIfTI, on the
    image's own grid and with the image's name. Give the folder of corrected masks to convert_vendor --masks.

    Existing masks are kept, because they may have been corrected. The exit status is 1 if an image got no mask.

    Example: maseg annotate exams/ -o masks
    """
    from maseg_nnunet.annotation.annotate import REPORT, write_report
    from maseg_nnunet.annotation.annotate import annotate as run
    from maseg_nnunet.cli.progress import FileCounter
    from maseg_nnunet.errors import DatasetError, UsageError, as_text
    from maseg_nnunet.mammogram import View

    try:
        projection = None if view is None else View(view.upper())
    except ValueError as error:
        known = ", ".join(known.value for known in View if known.value)
        raise UsageError(f"--view {view} is unknown: choose one of {known}") from error
    if model is not None and method is not Method.MODEL:
        raise UsageError("--model needs --method model")
    results: list[library.Annotated] = []
    with FileCounter("0 images", "images") as counter:
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
            counter.advance()
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
    """Print mean and median Dice of the images that have a reference."""
    import numpy as np

    scores = [result.score for result in results if result.score is not None]
    typer.echo(f"{len(scores)} images with a reference, Dice of each in {path}")
    for name in ("dice_breast", "dice_pectoral", "dice_overall"):
        values = np.array([getattr(score, name) for score in scores], dtype=float)
        values = values[~np.isnan(values)]
        if values.size:
            text = f"mean {values.mean():.3f} ± {values.std(ddof=1) if values.size > 1 else 0:.3f}"
            typer.echo(f"{name.replace('_', ' ')}: {text}, median {np.median(values):.3f} (n = {values.size})")

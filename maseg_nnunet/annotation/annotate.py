"""First masks for a person to correct in ITK-SNAP: for each image a mask, a picture, and a workspace that opens both.

The person corrects the mask (NIfTI, on the source's grid, named by the image's stem), and `convert_vendor --masks`
reads it back. Masks are made by `otsu.py` or a trained model.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from maseg_nnunet.annotation.itk_snap import label_file, workspace
from maseg_nnunet.arrays import GivenSpacing, Mask
from maseg_nnunet.errors import DatasetError, MasegError, Reason, RefusedError, as_text, reason_of
from maseg_nnunet.evaluation.metrics import CaseScore, score_case
from maseg_nnunet.files import csv_text, stamp, write_text
from maseg_nnunet.mammogram import Mammogram, View
from maseg_nnunet.prediction.sources import Source, find_sources
from maseg_nnunet.readers import read_mammogram
from maseg_nnunet.readers.masks import read_mask
from maseg_nnunet.writers.nifti import write_nifti

Annotator = Callable[[Mammogram], Mask]
"""Makes the mask of an image on its own grid."""

LABEL_FILE: Final = "labels.txt"
REPORT: Final = "report.csv"
STAMPS: Final = "images.jsonl"
"""One line for each mask: the stem and the stamp (`files.stamp`) of its image."""

PICTURE: Final = "_picture"
"""Added to the stem in the name of the displayed image that ITK-SNAP opens."""

_SUFFIXES: Final = (".nii.gz", ".nii", ".nrrd", ".mha", ".png")


@dataclass(frozen=True)
class Annotated:
    """Outcome of one image.

    Attributes:
        name: Name of the file, its path relative to the inputs.
        outcome: "written", "kept" if its mask existed already, or why the image has no mask.
        score: The score of its mask against the reference mask; None if there is none.
        unscored: Why its mask could not be compared with its reference, or "".
    """

    name: str
    outcome: str
    score: CaseScore | None = None
    unscored: str = ""


def annotate(
    inputs: Sequence[Path],
    output: Path,
    annotator: Annotator,
    *,
    spacing_mm: GivenSpacing | None = None,
    view: View | None = None,
    references: Path | None = None,
    overwrite: bool = False,
) -> Iterator[Annotated]:
    """Write a mask, a picture and an ITK-SNAP workspace for every image.

    An existing mask is kept, because a person may have corrected it. If it belongs to another image of the same name,
    this image gets no mask. Files found in a folder that are not images are skipped.

    Args:
        inputs: Files, folders, or lists of them (.txt).
        output: Folder to write to.
        annotator: Makes the mask of an image.
        spacing_mm: Pixel spacing of files that have none, in mm.
        view: View of images that have none.
        references: Folder of reference masks, named by the images' stems, to score all masks against.
        overwrite: Whether to overwrite existing masks.

    Yields:
        The outcome of each image in the order in which they are found.

    Raises:
        DatasetError: `references` is not a folder.
        UsageError: The inputs can't be used, see `find_sources`.
    """
    if references is not None and not references.is_dir():
        raise DatasetError(f"the folder of reference masks {references} does not exist")
    sources = find_sources(inputs, output)
    stamps = _read_stamps(output / STAMPS)
    if overwrite or not (output / LABEL_FILE).exists():
        write_text(output / LABEL_FILE, label_file())
    for source in sources:
        target = output / f"{source.stem}.nii.gz"
        try:
            if problem := source.problem or _clash(output, source.stem):
                raise DatasetError(problem)
            now = stamp(source.path)
            if target.is_file() and not overwrite:
                if stamps.get(source.stem, now) != now:
                    raise DatasetError(
                        "its mask exists and belongs to another image of that name: choose another --output"
                    )
                yield _compared(
                    Annotated(source.name, "kept"), partial(_score_kept, references, source, target, spacing_mm)
                )
                continue
            mammogram = read_mammogram(source.path, spacing_mm=spacing_mm)
            if view is not None and mammogram.view is View.UNKNOWN:
                mammogram = replace(mammogram, view=view)
            mask = annotator(mammogram)
            _write(output, source, mammogram, mask)
            with (output / STAMPS).open("a", encoding="utf-8") as lines:
                # A killed run may have left half a line, so this one begins with a line break.
                lines.write("\n" + json.dumps([source.stem, now]) + "\n")
            yield _compared(Annotated(source.name, "written"), partial(_score, references, source, mammogram, mask))
        except RefusedError as error:
            if source.listed or error.reason is not Reason.NOT_DICOM:
                yield Annotated(source.name, str(error))
        except MasegError as error:
            yield Annotated(source.name, str(error))
        except UnicodeEncodeError:
            yield Annotated(
                source.name, "its name contains bytes that are not text, and ITK-SNAP can't open it: rename it"
            )
        except Exception as error:  # unexpected: report the file and continue
            yield Annotated(source.name, reason_of(error))


def _read_stamps(path: Path) -> dict[str, str]:
    """Stem to the stamp of the image that its mask was made for. Incomplete lines are skipped."""
    stamps: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with suppress(ValueError):
            stem, found = json.loads(line)
            stamps[stem] = found
    return stamps


def _clash(output: Path, stem: str) -> str:
    """Why the image `stem` can't be annotated, or "": one image's picture may have the name of another one's mask."""
    if (output / f"{stem}.itksnap").exists():
        return ""
    picture, base = output / f"{stem}{PICTURE}.nii.gz", stem.removesuffix(PICTURE)
    if picture.exists():
        return f"its picture would replace the mask {picture.name}: rename it"
    if base != stem and (output / f"{base}.itksnap").exists():
        return f"its mask would replace the picture of {base}: rename it"
    return ""


def _write(output: Path, source: Source, mammogram: Mammogram, mask: Mask) -> None:
    """Write the three files, the workspace first and the mask last.

    `_clash` tells by the workspace whose picture a file is, and an image counts as annotated if its mask exists.
    """
    picture = output / f"{source.stem}{PICTURE}.nii.gz"
    target = output / f"{source.stem}.nii.gz"
    write_text(output / f"{source.stem}.itksnap", workspace(picture, target))
    write_nifti(picture, np.asarray(np.round(mammogram.displayed() * 255), dtype=np.uint8), mammogram.spacing)
    write_nifti(target, mask, mammogram.spacing)


def _compared(image: Annotated, score: Callable[[], CaseScore | None]) -> Annotated:
    """`image` with its score, or with the reason if the reference can't be read; the mask counts as made either way."""
    try:
        return replace(image, score=score())
    except MasegError as error:
        return replace(image, unscored=f"not compared with its reference: {error}")


def _score_kept(
    references: Path | None, source: Source, target: Path, spacing_mm: GivenSpacing | None
) -> CaseScore | None:
    if references is None:
        return None
    mammogram = read_mammogram(source.path, spacing_mm=spacing_mm)
    return _score(references, source, mammogram, read_mask(target, mammogram.shape))


def _score(references: Path | None, source: Source, mammogram: Mammogram, mask: Mask) -> CaseScore | None:
    if references is None:
        return None
    for suffix in _SUFFIXES:
        for stem in (source.stem, Path(source.stem).name):
            path = references / f"{stem}{suffix}"
            if path.is_file():
                return score_case(mask, read_mask(path, mammogram.shape), mammogram.spacing)
    return None


def write_report(path: Path, results: Sequence[Annotated]) -> None:
    """Write the scores to `path` as CSV, one row for each image that has a reference."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *(field.name for field in fields(CaseScore))])
    rows = ((as_text(r.name), r.score) for r in results if r.score is not None)
    writer.writerows([csv_text(name), *asdict(score).values()] for name, score in rows)
    write_text(path, text.getvalue())

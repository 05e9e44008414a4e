"""Write a mask on its source's grid in every format. Each format has a module beside this one.

`stem` is the path of a result without an ending: `OUT/a/b/x` gives x.nii.gz, x.png, x_seg.dcm and x_preview.png.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from maseg_nnunet.arrays import Mask, Spacing
from maseg_nnunet.errors import OutputError, UsageError
from maseg_nnunet.mammogram import Flag, Mammogram, Side

if TYPE_CHECKING:
    from maseg_nnunet.writers.dicom_seg import Algorithm


class Format(str, Enum):
    """A file format of masks; the value is the word for --format."""

    NIFTI = "nifti"
    PNG = "png"
    DICOM_SEG = "dicom-seg"


ENDINGS: Final = {Format.NIFTI: ".nii.gz", Format.PNG: ".png", Format.DICOM_SEG: "_seg.dcm"}
PREVIEW_ENDING: Final = "_preview.png"


def parse_formats(text: str) -> tuple[Format, ...]:
    """The formats of a list such as `nifti,png`, each once. Raises UsageError if a word is not a format."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    known = [form.value for form in Format]
    for word in words:
        if word not in known:
            raise UsageError(f"--format {word} is unknown: choose one or more of {', '.join(known)}")
    if not words:
        raise UsageError(f"--format names no format: choose one or more of {', '.join(known)}")
    return tuple(dict.fromkeys(Format(word) for word in words))


def result_paths(stem: Path, formats: Iterable[Format], preview: bool = False) -> list[Path]:
    """The paths of the results of `stem`: one for each format in order, then the preview."""
    endings = [ENDINGS[form] for form in formats] + [PREVIEW_ENDING] * preview
    return [stem.with_name(stem.name + ending) for ending in endings]


def write_mask(
    stem: Path,
    mask: Mask,
    form: Format,
    *,
    source: Path | None,
    spacing: Spacing,
    side: Side,
    algorithm: Algorithm | None,
) -> Path:
    """Write a mask in one format.

    Args:
        stem: Path of the result without an ending.
        mask: Values of `Label`, shape (rows, columns), uint8, on the grid of the source.
        form: The format.
        source: The file that the mask is of; needed for DICOM SEG only.
        spacing: Pixel spacing, (row, column) in mm.
        side: Side of the breast.
        algorithm: The algorithm that made the mask; needed for DICOM SEG only.

    Returns:
        The file.

    Raises:
        OutputError: A DICOM SEG can't refer to the source.
        OSError: The file can't be written.
    """
    (path,) = result_paths(stem, (form,))
    if form is Format.NIFTI:
        from maseg_nnunet.writers.nifti import write_nifti

        write_nifti(path, mask, spacing)
    elif form is Format.PNG:
        from maseg_nnunet.writers.png import write_mask_png

        write_mask_png(path, mask)
    else:
        if source is None or algorithm is None:
            raise OutputError("no DICOM SEG: the source or the algorithm is unknown")
        from maseg_nnunet.readers import is_film_file
        from maseg_nnunet.writers.dicom_seg import write_dicom_seg

        if is_film_file(source):
            raise OutputError("no DICOM SEG: the source is not a DICOM file")
        write_dicom_seg(path, mask, source, spacing, side, algorithm)
    return path


def write_mammogram_preview(path: Path, mammogram: Mammogram, mask: Mask) -> None:
    """Write a preview of a mammogram and its mask: see `png.write_preview`.

    If a name may be burned into the image, the edges are drawn on black.

    Args:
        path: The file to write.
        mammogram: The image.
        mask: Values of `Label`, shape (rows, columns) of the image, uint8.

    Raises:
        OSError: The file can't be written.
    """
    import cv2

    from maseg_nnunet.writers.png import PREVIEW_LONGEST, shrink, write_preview

    # Shrink before the look-up table is applied, so that it is applied to fewer pixels.
    displayed = mammogram.luts.display(shrink(mammogram.pixels.astype(np.float32, copy=False), PREVIEW_LONGEST))
    if Flag.BURNED_IN in mammogram.flags:
        displayed = np.zeros_like(displayed)
    edges = cv2.resize(mask, displayed.shape[::-1], interpolation=cv2.INTER_NEAREST)
    write_preview(path, displayed, edges.astype(np.uint8))

"""The files that a mask on its source's grid becomes, and how they are called. Each format is a module beside this one.

`stem` is where a result goes, without an ending: `OUT/a/b/x` gives x.nii.gz, x.png, x_seg.dcm and x_preview.png.
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
    """A format of a mask; the value is what --format takes."""

    NIFTI = "nifti"
    PNG = "png"
    DICOM_SEG = "dicom-seg"


ENDINGS: Final = {Format.NIFTI: ".nii.gz", Format.PNG: ".png", Format.DICOM_SEG: "_seg.dcm"}
PREVIEW_ENDING: Final = "_preview.png"


def parse_formats(text: str) -> tuple[Format, ...]:
    """The formats of a list such as `nifti,png`. Raises UsageError on a word that is none."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    known = [form.value for form in Format]
    for word in words:
        if word not in known:
            raise UsageError(f"--format {word} is not known: choose one or more of {', '.join(known)}")
    if not words:
        raise UsageError(f"--format names none: choose one or more of {', '.join(known)}")
    return tuple(dict.fromkeys(Format(word) for word in words))


def result_paths(stem: Path, formats: Iterable[Format], preview: bool = False) -> list[Path]:
    """The files that belong to `stem`."""
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
    """Write `mask`, labels (rows, columns), in one format and return where. `spacing` is (row, column) in mm.

    `source`, the file that the mask is of, and `algorithm` are needed for DICOM SEG alone. Raises OutputError where a
    SEG can't refer to the source, OSError where the disk refuses.
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
            raise OutputError("no DICOM SEG: the source or the algorithm is not known")
        from maseg_nnunet.readers import is_film_file
        from maseg_nnunet.writers.dicom_seg import write_dicom_seg

        if is_film_file(source):
            raise OutputError("no DICOM SEG: the source is no DICOM file")
        write_dicom_seg(path, mask, source, spacing, side, algorithm)
    return path


def write_mammogram_preview(path: Path, mammogram: Mammogram, mask: Mask) -> None:
    """Write the displayed image with both edges of `mask`, shape (rows, columns), at most PREVIEW_LONGEST pixels long.

    The edges alone, on black, where a name may be burned into the image.
    """
    import cv2

    from maseg_nnunet.writers.png import PREVIEW_LONGEST, shrink, write_preview

    # Shrunk before the look-up table, which costs more the more pixels it is applied to.
    displayed = mammogram.luts.display(shrink(mammogram.pixels.astype(np.float32, copy=False), PREVIEW_LONGEST))
    if Flag.BURNED_IN in mammogram.flags:
        displayed = np.zeros_like(displayed)
    edges = cv2.resize(mask, displayed.shape[::-1], interpolation=cv2.INTER_NEAREST)
    write_preview(path, displayed, edges.astype(np.uint8))

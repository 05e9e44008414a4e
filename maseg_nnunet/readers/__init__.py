"""Read mammograms from DICOM, PNG, TIFF, PGM and JPEG files.

The format is recognised by the content, never by the file's name.

`read_mask` is in `masks.py`, because masks come in other formats and need other libraries.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from maseg_nnunet.arrays import GivenSpacing
from maseg_nnunet.errors import Reason, RefusedError, UsageError
from maseg_nnunet.mammogram import Mammogram
from maseg_nnunet.readers.refusals import read_start

if TYPE_CHECKING:
    from maseg_nnunet.readers.header import Header

__all__ = ["MAX_MEGAPIXELS", "read_header", "read_mammogram"]

MAX_MEGAPIXELS: Final = 120
"""Default limit of an image's size, checked before pixels are decoded. No mammogram is larger."""


def read_mammogram(
    path: str | os.PathLike[str],
    *,
    spacing_mm: GivenSpacing | None = None,
    raw_windows: bool = False,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Mammogram:
    """Read one mammogram from a DICOM, PNG, TIFF, PGM or JPEG file.

    The DICOM objects that are read have one frame: Digital Mammography X-Ray Image (PS3.3 A.27), Breast Tomosynthesis
    with one frame (A.55), and Computed Radiography, Digital X-Ray and Secondary Capture of a breast. An image whose
    pixels all have one value is read and flagged.

    Args:
        path: The file. Its name and ending do not matter, except that view and side may be taken from words of the
            path if the file does not state them.
        spacing_mm: Pixel spacing in mm, one number, (row, column), or a dict from patterns of paths, such as
            `scanner_a/*.png`, to numbers, for a file that states none. A spacing in the
            header has precedence.
        raw_windows: Use the VOI look-up tables in the header of a raw (For Processing) image. They are ignored by
            default, and the image's own range of values is its window.
        max_megapixels: Refuse larger images before their pixels are decoded.

    Returns:
        The image in stored orientation. `pixels` has the shape (rows, columns) and holds stored values after the
        modality LUT (PS3.3 C.11.1): integers, or float32 if the rescale is not integer. Pixel padding (C.7.5.1.1.2)
        is set to the dark end. `spacing` is (row, column) in mm, `luts` holds every usable VOI look-up table (C.11.2),
        and `flags` says what a user should know about the file.

    Raises:
        RefusedError: The file can't be read, is not a mammogram, or breaks a rule. `reason` is the kind of refusal and
            `detail` a sentence for the user, without any value of the header that could identify a patient.
        UsageError: `path` is not a path.

    Examples:
        >>> mammogram = read_mammogram("exam.dcm")
        >>> mammogram.shape, mammogram.spacing, mammogram.view.value
        ((3328, 2560), (0.07, 0.07), 'MLO')
    """
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"read_mammogram takes the path of a file, not {type(path).__name__}")
    path = Path(path)
    if is_film_file(path):
        from maseg_nnunet.readers.film import read_film

        return read_film(path, spacing_mm=spacing_mm, max_megapixels=max_megapixels)
    from maseg_nnunet.readers.dicom import read_dicom

    return read_dicom(path, spacing_mm=spacing_mm, raw_windows=raw_windows, max_megapixels=max_megapixels)


def read_header(path: str | os.PathLike[str], *, max_megapixels: float = MAX_MEGAPIXELS) -> Header:
    """Read what a DICOM file says before its pixels. Fast enough to sort thousands of files.

    Args:
        path: The file. Its name and ending do not matter.
        max_megapixels: Refuse larger images.

    Returns:
        The header's values. `spacing` is None if the header has none, because the user may give one.

    Raises:
        RefusedError: The same reasons as `read_mammogram`, as far as the header shows them, but not for a missing
            spacing. NOT_DICOM for PNG, TIFF, PGM and JPEG, which have no header.
    """
    path = Path(path)
    if is_film_file(path):
        raise RefusedError(Reason.NOT_DICOM, "a PNG, TIFF, PGM or JPEG has no DICOM header")
    from maseg_nnunet.readers.dicom import read_dicom_header

    return read_dicom_header(path, max_megapixels)


def is_film_file(path: Path) -> bool:
    """Whether a file is a PNG, TIFF, PGM or JPEG, by its content. Raises RefusedError if it can't be read."""
    from maseg_nnunet.readers.film import is_film

    return is_film(read_start(path))

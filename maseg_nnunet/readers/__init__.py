"""Mammograms from files: DICOM, PGM and PNG, told apart by what they hold, never by their names.

`read_mask` stands in `masks.py`: masks come in other formats, and need other libraries.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.mammogram import Mammogram

if TYPE_CHECKING:
    from maseg_nnunet.readers.header import Header

__all__ = ["MAX_MEGAPIXELS", "read_header", "read_mammogram"]

MAX_MEGAPIXELS: Final = 120
"""No mammogram is larger; checked before pixels are decoded."""

_START: Final = 256


def read_mammogram(
    path: Path,
    *,
    spacing_mm: float | tuple[float, float] | None = None,
    raw_windows: bool = False,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Mammogram:
    """Read one image, whatever the file is called.

    `spacing_mm`, one number or (row, column), serves images whose file states none. `raw_windows` takes the look-up
    tables of a raw image from its header instead of its own range. An image of one value is read and flagged.

    Raises RefusedError with the reason: not an image that can be read, not a mammogram, or one that breaks a rule.
    """
    path = Path(path)
    if is_film_file(path):
        from maseg_nnunet.readers.film import read_film

        return read_film(path, spacing_mm=spacing_mm, max_megapixels=max_megapixels)
    from maseg_nnunet.readers.dicom import read_dicom

    return read_dicom(path, spacing_mm=spacing_mm, raw_windows=raw_windows, max_megapixels=max_megapixels)


def read_header(path: Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> Header:
    """What a DICOM file says before its pixels, which are not read: for sorting thousands of files.

    Raises RefusedError as `read_mammogram` does, as far as the header tells; not for a missing spacing, which the user
    may give. PGM and PNG have no header (NOT_DICOM).
    """
    path = Path(path)
    if is_film_file(path):
        raise RefusedError(Reason.NOT_DICOM, "a PGM or PNG has no header")
    from maseg_nnunet.readers.dicom import read_dicom_header

    return read_dicom_header(path, max_megapixels)


def is_film_file(path: Path) -> bool:
    """Whether a file is a PGM or PNG, by its content. Raises RefusedError where it can't be read."""
    from maseg_nnunet.readers.film import is_film

    try:
        if not path.is_file():  # a pipe would block, a device never end
            raise RefusedError(Reason.UNREADABLE, "it is missing, or no regular file")
        with path.open("rb") as file:
            return is_film(file.read(_START))
    except OSError as error:
        raise RefusedError(Reason.UNREADABLE, f"the file can't be read: {error.strerror}") from error

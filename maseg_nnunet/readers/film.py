"""Read digitized film from PGM or PNG, 8 or 16 bit gray. These formats have no spacing and no look-up tables."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import GivenSpacing
from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.mammogram import Flag, Intent, Mammogram, Side, View
from maseg_nnunet.readers.luts import own_range
from maseg_nnunet.readers.refusals import check_megapixels, os_errors_refused
from maseg_nnunet.readers.spacing import GIVEN, check_extent, extent_flags, given_spacing
from maseg_nnunet.readers.views import side_from_path, view_from_path
from maseg_nnunet.voi import CaseLuts

PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
PGM_MAGIC: Final = b"P5"

_PGM_FIELD: Final = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})")
# Python's re takes a hundred bytes of memory for each repeat.
_LONGEST_PGM_HEADER: Final = 4096
_BYTES_PER_MEGAPIXEL: Final = 8e6
_PNG_GRAY: Final = 0


def is_film(start: bytes) -> bool:
    """Whether a file that begins with `start` is a PNG or a raw PGM."""
    return start.startswith(PNG_MAGIC) or (start.startswith(PGM_MAGIC) and start[2:3].isspace())


def read_film(path: Path, *, spacing_mm: GivenSpacing | None, max_megapixels: float) -> Mammogram:
    """Read a film; see `readers.read_mammogram`.

    The intent is film, and the look-up table is one window from the least to the largest value.
    """
    pixels = read_gray(path, max_megapixels)
    spacing = given_spacing(spacing_mm, path)
    if spacing is None:
        raise RefusedError(Reason.NO_SPACING, "PGM and PNG files have no pixel spacing: give it with --spacing-mm")
    check_extent((int(pixels.shape[0]), int(pixels.shape[1])), spacing)
    low, high = int(pixels.min()), int(pixels.max())
    view, side = view_from_path(path), side_from_path(path)
    conditions = {
        Flag.VIEW_FROM_PATH: view is not View.UNKNOWN,
        Flag.SIDE_FROM_PATH: side is not Side.UNKNOWN,
        Flag.SPACING_GIVEN: True,
        Flag.UNUSUAL_EXTENT: bool(extent_flags((int(pixels.shape[0]), int(pixels.shape[1])), spacing)),
        Flag.CONSTANT: low == high,
    }
    return Mammogram(
        path=path,
        pixels=pixels,
        spacing=spacing,
        spacing_source=GIVEN,
        luts=CaseLuts(inverted=False, base=0, luts=(own_range(low, high),)),
        intent=Intent.FILM,
        view=view,
        side=side,
        flags=tuple(flag for flag, holds in conditions.items() if holds),
    )


def read_gray(path: Path, max_megapixels: float) -> npt.NDArray[Any]:
    """Read the pixels of a gray PGM or PNG file.

    Args:
        path: The file.
        max_megapixels: Refuse larger images before they are decoded.

    Returns:
        Shape (rows, columns), uint8 or uint16, read-only.

    Raises:
        RefusedError: UNREADABLE, TRUNCATED, TOO_LARGE, or COLOUR if the PNG is not gray.
    """
    with os_errors_refused():
        if path.stat().st_size > max_megapixels * _BYTES_PER_MEGAPIXEL:
            raise RefusedError(Reason.TOO_LARGE, f"the file is too long for {max_megapixels:g} megapixels")
        data = path.read_bytes()
    pixels = _decode_png(data, max_megapixels) if data.startswith(PNG_MAGIC) else _decode_pgm(data, max_megapixels)
    pixels.setflags(write=False)
    return pixels


def _decode_png(data: bytes, max_megapixels: float) -> npt.NDArray[Any]:
    """Decode a PNG (ISO/IEC 15948). IHDR, the first chunk, has the size and the colour type."""
    if len(data) < 29 or data[12:16] != b"IHDR":
        raise RefusedError(Reason.UNREADABLE, "the PNG has no header")
    columns, rows, _, colour = struct.unpack_from(">LLBB", data, 16)
    _check_size(rows, columns, max_megapixels)
    if colour != _PNG_GRAY:
        raise RefusedError(Reason.COLOUR, "the PNG has colours, a palette or transparency: save it as gray")
    if b"IEND" not in data[-64:]:
        raise RefusedError(Reason.TRUNCATED, "the PNG has no end")
    try:
        pixels = np.asarray(imagecodecs.png_decode(data))
    except Exception:  # any error of the decoder on a damaged file
        raise RefusedError(Reason.UNREADABLE, "the PNG can't be decoded: the file is damaged") from None
    if pixels.shape != (rows, columns):
        raise RefusedError(Reason.COLOUR, "the PNG has colours, a palette or transparency: save it as gray")
    return pixels


def _decode_pgm(data: bytes, max_megapixels: float) -> npt.NDArray[Any]:
    """Decode a raw PGM (P5). Samples have two bytes, the high one first, if the largest value is above 255."""
    position = len(PGM_MAGIC)
    fields = []
    for _ in range(3):
        found = _PGM_FIELD.match(data, position, _LONGEST_PGM_HEADER)
        if found is None:
            raise RefusedError(
                Reason.UNREADABLE,
                f"the PGM has no width, height and largest value in its first {_LONGEST_PGM_HEADER} bytes",
            )
        fields.append(int(found.group(1)))
        position = found.end()
    columns, rows, largest = fields
    _check_size(rows, columns, max_megapixels)
    if not 1 <= largest <= 65535:
        raise RefusedError(Reason.UNREADABLE, f"the PGM header has the largest value {largest}, expected 1 to 65535")
    dtype = np.dtype(np.uint8 if largest < 256 else np.uint16)
    position += 1
    if len(data) - position < rows * columns * dtype.itemsize:
        raise RefusedError(Reason.TRUNCATED, f"the PGM is too short for {rows} x {columns} pixels")
    samples = np.frombuffer(data, dtype.newbyteorder(">"), count=rows * columns, offset=position)
    pixels = samples.reshape(rows, columns).astype(dtype, copy=False)
    if int(pixels.max()) > largest:
        raise RefusedError(Reason.UNREADABLE, "the PGM has a value above the largest value of its header")
    return pixels


def _check_size(rows: int, columns: int, max_megapixels: float) -> None:
    if rows < 1 or columns < 1:
        raise RefusedError(Reason.UNREADABLE, "the image has no pixels")
    check_megapixels(rows, columns, max_megapixels)

"""Read digitized film from PGM, PNG, TIFF or JPEG, 8 or 16 bit gray, also if it is stored as colours that are all gray.

These formats have no look-up tables and no spacing to rely on: the resolution of a TIFF is often that of a screen.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import GivenSpacing
from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.mammogram import Flag, Intent, Mammogram, Side, View
from maseg_nnunet.readers.codestream import CodestreamError, IncompleteError, check_jpeg_end, parse_jpeg
from maseg_nnunet.readers.luts import own_range
from maseg_nnunet.readers.refusals import check_megapixels, os_errors_refused
from maseg_nnunet.readers.spacing import GIVEN, check_extent, extent_flags, given_spacing
from maseg_nnunet.readers.views import side_from_path, view_from_path
from maseg_nnunet.voi import CaseLuts

PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
PGM_MAGIC: Final = b"P5"
JPEG_MAGIC: Final = b"\xff\xd8\xff"
TIFF_MAGICS: Final = (b"II*\0", b"MM\0*")

_PGM_FIELD: Final = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})")
# Python's re takes a hundred bytes of memory for each repeat.
_LONGEST_PGM_HEADER: Final = 4096
_BYTES_PER_MEGAPIXEL: Final = 8e6
_DICOM_PREFIX: Final = slice(128, 132)
_COLOUR: Final = "the image has colours or transparency: save it as gray"
# TIFF 6.0, section 8: the tags, and the photometric interpretations gray, inverted gray and RGB.
_WIDTH, _LENGTH, _PHOTOMETRIC, _SAMPLES = 256, 257, 262, 277
_WHITE_IS_ZERO: Final = 0
_TIFF_GRAY_OR_RGB: Final = (_WHITE_IS_ZERO, 1, 2)
_TIFF_SHORT: Final = 3


def is_film(start: bytes) -> bool:
    """Whether a file that begins with `start` is a PNG, a raw PGM, a JPEG or a TIFF."""
    if start.startswith(PGM_MAGIC):
        return start[2:3].isspace()
    # A DICOM file may have a TIFF header in its preamble.
    return start.startswith((PNG_MAGIC, JPEG_MAGIC, *TIFF_MAGICS)) and start[_DICOM_PREFIX] != b"DICM"


def read_film(path: Path, *, spacing_mm: GivenSpacing | None, max_megapixels: float) -> Mammogram:
    """Read a film; see `readers.read_mammogram`.

    The intent is film, and the look-up table is one window from the least to the largest value.
    """
    pixels = read_gray(path, max_megapixels)
    spacing = given_spacing(spacing_mm, path)
    if spacing is None:
        raise RefusedError(Reason.NO_SPACING, "the file states no pixel spacing: give it with --spacing-mm")
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
    """Read the pixels of a gray PGM, PNG, TIFF or JPEG file.

    Args:
        path: The file.
        max_megapixels: Refuse larger images before they are decoded.

    Returns:
        Shape (rows, columns), uint8 or uint16, read-only.

    Raises:
        RefusedError: UNREADABLE, TRUNCATED, TOO_LARGE, COLOUR if the image is not gray, or MULTI_FRAME.
    """
    with os_errors_refused():
        if path.stat().st_size > max_megapixels * _BYTES_PER_MEGAPIXEL:
            raise RefusedError(Reason.TOO_LARGE, f"the file is too long for {max_megapixels:g} megapixels")
        data = path.read_bytes()
    if data.startswith(PGM_MAGIC):
        pixels = _decode_pgm(data, max_megapixels)
    elif data.startswith(PNG_MAGIC):
        pixels = _decode("PNG", data, _png_size(data), imagecodecs.png_decode, max_megapixels)
    elif data.startswith(JPEG_MAGIC):
        pixels = _decode("JPEG", data, _jpeg_size(data), imagecodecs.jpeg_decode, max_megapixels)
    else:
        size, white_is_zero = _tiff_header(data)
        pixels = _decode("TIFF", data, size, imagecodecs.tiff_decode, max_megapixels)
        pixels = np.invert(pixels) if white_is_zero else pixels
    pixels.setflags(write=False)
    return pixels


def _decode(
    name: str, data: bytes, size: tuple[int, int], decoder: Callable[[bytes], Any], max_megapixels: float
) -> npt.NDArray[Any]:
    """Decode `data` after its size is checked, and reduce colours that are all gray to gray."""
    _check_size(*size, max_megapixels)
    try:
        pixels = np.asarray(decoder(data))
    except Exception:  # any error of the decoder on a damaged file
        raise RefusedError(Reason.UNREADABLE, f"the {name} can't be decoded: the file is damaged") from None
    if pixels.shape[:2] != size or pixels.ndim > 3:
        raise RefusedError(Reason.UNREADABLE, f"the {name} is not of the size that its header says")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise RefusedError(Reason.UNREADABLE, f"the {name} has {pixels.dtype} samples: save it with 8 or 16 bits")
    return _gray(pixels)


def _gray(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Shape (rows, columns) from (rows, columns, channels). Raises RefusedError (COLOUR)."""
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] in (2, 4):
        if pixels[:, :, -1].min() < np.iinfo(pixels.dtype).max:
            raise RefusedError(Reason.COLOUR, _COLOUR)
        pixels = pixels[:, :, :-1]
    first = np.ascontiguousarray(pixels[:, :, 0])
    if any((pixels[:, :, channel] != first).any() for channel in range(1, pixels.shape[2])):
        raise RefusedError(Reason.COLOUR, _COLOUR)
    return first


def _png_size(data: bytes) -> tuple[int, int]:
    """Rows and columns of a PNG (ISO/IEC 15948) from IHDR, the first chunk."""
    if len(data) < 29 or data[12:16] != b"IHDR":
        raise RefusedError(Reason.UNREADABLE, "the PNG has no header")
    columns, rows = struct.unpack_from(">LL", data, 16)
    if b"IEND" not in data[-64:]:
        raise RefusedError(Reason.TRUNCATED, "the PNG has no end")
    return rows, columns


def _jpeg_size(data: bytes) -> tuple[int, int]:
    try:
        found = parse_jpeg(data)
        check_jpeg_end(data)
    except IncompleteError as error:
        raise RefusedError(Reason.TRUNCATED, f"{error}") from error
    except CodestreamError as error:
        raise RefusedError(Reason.UNREADABLE, f"{error}: the file is damaged") from error
    if found.components not in (1, 3):
        raise RefusedError(Reason.COLOUR, _COLOUR)
    return found.rows, found.columns


def _tiff_header(data: bytes) -> tuple[tuple[int, int], bool]:
    """Rows and columns of a TIFF (6.0, section 2), and whether 0 is white, from its first directory."""
    order = "<" if data.startswith(b"II") else ">"
    tags = {}
    try:
        (start,) = struct.unpack_from(f"{order}L", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", data, entry)
            (tags[tag],) = struct.unpack_from(f"{order}{'H' if kind == _TIFF_SHORT else 'L'}", data, entry + 8)
        (following,) = struct.unpack_from(f"{order}L", data, start + 2 + 12 * count)
    except struct.error:
        raise RefusedError(Reason.TRUNCATED, "the TIFF ends before its directory does") from None
    if following:
        raise RefusedError(Reason.MULTI_FRAME, "the TIFF has several pages: save one")
    if tags.get(_PHOTOMETRIC) not in _TIFF_GRAY_OR_RGB or not 1 <= tags.get(_SAMPLES, 1) <= 4:
        raise RefusedError(Reason.COLOUR, _COLOUR)
    return (tags.get(_LENGTH, 0), tags.get(_WIDTH, 0)), tags[_PHOTOMETRIC] == _WHITE_IS_ZERO


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

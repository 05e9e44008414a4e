"""Checks of a compressed frame before it is decoded: its size, its bits, and whether it is complete.

A decoder allocates the memory that a codestream asks for, and libjpeg silently fills the missing part of a truncated
one with gray. So size and end are checked first. Not for decoding.

Markers: JPEG, ISO/IEC 10918-1 table B.1 (lossless included); JPEG-LS, ISO/IEC 14495-1 C.1; JPEG 2000 and HTJ2K,
ISO/IEC 15444-1 A.5.1 (SIZ).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Final

_SOI: Final = b"\xff\xd8"
_EOI: Final = b"\xff\xd9"
_SOC_SIZ: Final = b"\xff\x4f\xff\x51"
_SECOND_JPEG_2000: Final = re.compile(rb"\xff\xd9\0{0,16}\xff\x4f\xff\x51")
_SOS: Final = 0xDA
_SOF_JPEG_LS: Final = 0xF7
_SOF: Final = frozenset({*range(0xC0, 0xD0), _SOF_JPEG_LS}) - {0xC4, 0xC8, 0xCC}
_LSE: Final = 0xF8
_LSE_OVERSIZE: Final = 4
_MAX_TILES: Final = 65_535
# A decoder works for the size that the header claims. Lossy mammograms have about a byte for a hundred pixels.
_MAX_PIXELS_PER_BYTE: Final = 2000


class CodestreamError(ValueError):
    """The frame is not a valid codestream of its kind, or is one that no mammogram needs."""


class IncompleteError(CodestreamError):
    """The codestream's end is missing."""


@dataclass(frozen=True)
class Codestream:
    """The frame header of a codestream.

    Attributes:
        rows: Height in pixels.
        columns: Width in pixels.
        components: Samples per pixel.
        precision: Bits per sample.
    """

    rows: int
    columns: int
    components: int
    precision: int


def parse_jpeg(frame: bytes) -> Codestream:
    """Read the frame header of a JPEG or JPEG-LS codestream. Raises CodestreamError if there is none."""
    return _parse_jpeg(frame)[0]


def is_jpeg_ls(frame: bytes) -> bool:
    """Whether a JPEG codestream is JPEG-LS. Raises CodestreamError if it has no frame header."""
    position = 2
    while True:
        marker, _, position = _segment(frame, position)
        if marker in _SOF:
            return marker == _SOF_JPEG_LS
        if marker == _SOS:
            raise CodestreamError("the JPEG codestream has no frame header")


def check_jpeg_end(frame: bytes) -> None:
    """Raise CodestreamError unless the only end-of-image marker is at the end, where padding may follow it."""
    stop = frame.find(_EOI, _parse_jpeg(frame)[1])
    if stop < 0:
        raise IncompleteError("the JPEG codestream has no end")
    if frame[stop + 2 :].strip(b"\0\xff"):
        raise CodestreamError("the JPEG codestream has an end marker before the end of its data")


def _parse_jpeg(frame: bytes) -> tuple[Codestream, int]:
    """The frame header, and the offset of the entropy-coded data."""
    if not frame.startswith(_SOI):
        raise CodestreamError("not a JPEG codestream")
    found: Codestream | None = None
    position = 2
    while True:
        marker, start, end = _segment(frame, position)
        if marker in _SOF:
            if end - start < 6:
                raise CodestreamError("the JPEG frame header is too short")
            precision, rows, columns, components = struct.unpack_from(">BHHB", frame, start)
            found = Codestream(rows, columns, components, precision)
        elif marker == _LSE and frame[start : start + 1] == bytes([_LSE_OVERSIZE]):
            raise CodestreamError("the JPEG-LS codestream has its size outside its frame header")
        elif marker == _SOS:
            break
        position = end
    if found is None:
        raise CodestreamError("the JPEG codestream has no frame header")
    return found, end


def _segment(frame: bytes, position: int) -> tuple[int, int, int]:
    """The marker of the segment at `position`, and the start and end of its parameters."""
    while frame[position : position + 2] == b"\xff\xff":  # fill bytes
        position += 1
    head = frame[position : position + 4]
    if len(head) < 4:
        raise IncompleteError("the JPEG codestream ends in its header")
    mark, marker, length = struct.unpack(">BBH", head)
    if mark != 0xFF or length < 2:
        raise CodestreamError("the JPEG header is not a chain of segments")
    if position + 2 + length > len(frame):
        raise IncompleteError("the JPEG codestream ends in its header")
    return marker, position + 4, position + 2 + length


def parse_jpeg2000(frame: bytes) -> Codestream:
    """Read the SIZ segment of a JPEG 2000 or HTJ2K codestream, bare or in a JP2 box. Raises CodestreamError."""
    start = 0 if frame.startswith(_SOC_SIZ) else frame.find(_SOC_SIZ, 0, 4096)
    if start < 0:
        raise CodestreamError("not a JPEG 2000 codestream")
    try:
        x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0 = struct.unpack_from(">8L", frame, start + 8)
        components, bits, step_x, step_y = struct.unpack_from(">HBBB", frame, start + 40)
    except struct.error as error:
        raise IncompleteError("the JPEG 2000 codestream ends in its header") from error
    if not (x0 < x1 and y0 < y1 and tile_x and tile_y and tile_x0 <= x0 and tile_y0 <= y0):
        raise CodestreamError("the JPEG 2000 header has an impossible size")
    if (step_x, step_y) != (1, 1):
        raise CodestreamError("the JPEG 2000 codestream is subsampled")
    if -(-(x1 - tile_x0) // tile_x) * -(-(y1 - tile_y0) // tile_y) > _MAX_TILES:
        raise CodestreamError("the JPEG 2000 header has too many tiles")
    return Codestream(y1 - y0, x1 - x0, components, (bits & 0x7F) + 1)


def check_jpeg2000_end(frame: bytes) -> None:
    """Raise IncompleteError unless the end-of-codestream marker is at the end, where padding may follow it."""
    if not frame.rstrip(b"\0").endswith(_EOI):
        raise IncompleteError("the JPEG 2000 codestream has no end")
    if _SECOND_JPEG_2000.search(frame):
        raise CodestreamError("the JPEG 2000 codestream has an end marker before the end of its data")


def check_length(length: int, found: Codestream) -> None:
    """Raise IncompleteError if `length` bytes are too few for a mammogram of the size that the frame header claims."""
    if found.rows * found.columns > length * _MAX_PIXELS_PER_BYTE:
        raise IncompleteError(f"the codestream is too short for {found.rows} x {found.columns} pixels")

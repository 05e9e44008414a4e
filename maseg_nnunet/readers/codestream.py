"""What a compressed frame says of itself before it is decoded: size, bits, and whether it is complete.

A decoder allocates what its codestream asks for, and libjpeg fills what a cut-off one lacks with gray and says
nothing. So both are looked at here first. Not for decoding.

Markers: JPEG, ISO/IEC 10918-1 table B.1 (lossless included); JPEG-LS, ISO/IEC 14495-1 C.1; JPEG 2000 and HTJ2K,
ISO/IEC 15444-1 A.5.1 (SIZ).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

_SOI: Final = b"\xff\xd8"
_EOI: Final = b"\xff\xd9"
_SOC_SIZ: Final = b"\xff\x4f\xff\x51"
_SOS: Final = 0xDA
_SOF: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_LSE: Final = 0xF8
_LSE_OVERSIZE: Final = 4
_MAX_TILES: Final = 65_535


class CodestreamError(ValueError):
    """The frame is no codestream of its kind, or asks for what a mammogram can't need."""


class IncompleteError(CodestreamError):
    """The codestream's end is missing."""


@dataclass(frozen=True)
class Codestream:
    """Size in pixels, samples per pixel, and bits per sample."""

    rows: int
    columns: int
    components: int
    precision: int


def parse_jpeg(frame: bytes) -> Codestream:
    """The frame header of a JPEG or JPEG-LS codestream. Raises CodestreamError."""
    return _parse_jpeg(frame)[0]


def check_jpeg_end(frame: bytes) -> None:
    """Raise CodestreamError unless the end-of-image marker stands at the end (padding may follow), nowhere before."""
    stop = frame.find(_EOI, _parse_jpeg(frame)[1])
    if stop < 0:
        raise IncompleteError("the JPEG codestream has no end")
    if frame[stop + 2 :].strip(b"\0\xff"):
        raise CodestreamError("the JPEG codestream ends before its data do")


def _parse_jpeg(frame: bytes) -> tuple[Codestream, int]:
    """The frame header, and where the entropy-coded data start."""
    if not frame.startswith(_SOI):
        raise CodestreamError("no JPEG codestream")
    found: Codestream | None = None
    position = 2
    while True:
        marker, start, end = _segment(frame, position)
        if marker in _SOF:
            if end - start < 6:
                raise CodestreamError("a JPEG frame header that is too short")
            precision, rows, columns, components = struct.unpack_from(">BHHB", frame, start)
            found = Codestream(rows, columns, components, precision)
        elif marker == _LSE and frame[start : start + 1] == bytes([_LSE_OVERSIZE]):
            raise CodestreamError("a JPEG-LS codestream whose size stands outside its frame header")
        elif marker == _SOS:
            break
        position = end
    if found is None:
        raise CodestreamError("a JPEG codestream without frame header")
    return found, end


def _segment(frame: bytes, position: int) -> tuple[int, int, int]:
    """Marker of the segment at `position`, and where its parameters start and end."""
    while frame[position : position + 2] == b"\xff\xff":  # fill bytes
        position += 1
    head = frame[position : position + 4]
    if len(head) < 4:
        raise IncompleteError("the JPEG codestream ends in its header")
    mark, marker, length = struct.unpack(">BBH", head)
    if mark != 0xFF or length < 2:
        raise CodestreamError("a JPEG header that is no chain of segments")
    if position + 2 + length > len(frame):
        raise IncompleteError("the JPEG codestream ends in its header")
    return marker, position + 4, position + 2 + length


def parse_jpeg2000(frame: bytes) -> Codestream:
    """The SIZ segment of a JPEG 2000 or HTJ2K codestream, bare or in a JP2 box. Raises CodestreamError."""
    start = 0 if frame.startswith(_SOC_SIZ) else frame.find(_SOC_SIZ, 0, 4096)
    if start < 0:
        raise CodestreamError("no JPEG 2000 codestream")
    try:
        x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0 = struct.unpack_from(">8L", frame, start + 8)
        components, bits, step_x, step_y = struct.unpack_from(">HBBB", frame, start + 40)
    except struct.error as error:
        raise IncompleteError("the JPEG 2000 codestream ends in its header") from error
    if not (x0 < x1 and y0 < y1 and tile_x and tile_y and tile_x0 <= x0 and tile_y0 <= y0):
        raise CodestreamError("a JPEG 2000 header with an impossible size")
    if (step_x, step_y) != (1, 1):
        raise CodestreamError("a subsampled JPEG 2000 codestream")
    if -(-(x1 - tile_x0) // tile_x) * -(-(y1 - tile_y0) // tile_y) > _MAX_TILES:
        raise CodestreamError("a JPEG 2000 header with too many tiles")
    return Codestream(y1 - y0, x1 - x0, components, (bits & 0x7F) + 1)


def check_jpeg2000_end(frame: bytes) -> None:
    """Raise IncompleteError unless the end-of-codestream marker stands at the end (padding may follow)."""
    if not frame[-16:].rstrip(b"\0").endswith(_EOI):
        raise IncompleteError("the JPEG 2000 codestream has no end")

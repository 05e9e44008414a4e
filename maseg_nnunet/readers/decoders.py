"""Decoding of compressed frames by imagecodecs, as a plugin for pydicom 3's decoders.

=====================================  ================  =====================  ==================================
transfer syntax (1.2.840.10008.1.2…)   UID ends in       imagecodecs            limits
=====================================  ================  =====================  ==================================
RLE Lossless                           .5                dicomrle_decode        8, 16 and 32 bits allocated
JPEG Baseline (8 bit)                  .4.50             jpeg_decode            lossy
JPEG Extended (8 and 12 bit)           .4.51             jpeg_decode            lossy; within 1 of libjpeg
JPEG Lossless, any predictor           .4.57             jpeg_decode            2 to 16 bits
JPEG Lossless, first-order             .4.70             jpeg_decode            2 to 16 bits
JPEG-LS Lossless                       .4.80             jpegls_decode          2 to 16 bits
JPEG-LS Near-lossless                  .4.81             jpegls_decode          lossy
JPEG 2000 Lossless                     .4.90             jpeg2k_decode          1 to 16 bits, signed or not
JPEG 2000                              .4.91             jpeg2k_decode          1 to 16 bits, signed or not
HTJ2K Lossless                         .4.201            jpeg2k_decode          as JPEG 2000
HTJ2K Lossless RPCL                    .4.202            jpeg2k_decode          as JPEG 2000
HTJ2K                                  .4.203            jpeg2k_decode          as JPEG 2000
=====================================  ================  =====================  ==================================

Frames have one gray sample per pixel. Native syntaxes (implicit and explicit little endian, explicit big endian,
deflated) need no decoder: pydicom reads them itself. HTJ2K is decoded by OpenJPEG, not by OpenJPH (`htj2k_decode`),
which returns uninitialized memory for a truncated codestream. No decoder notices every flipped bit, because damaged
entropy-coded data still decode to something. What can be checked (size, bits, completeness), `codestream.py` checks
before a frame is decoded.
"""

from __future__ import annotations

import itertools
import struct
from typing import Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.encaps import generate_fragments
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder
from pydicom.uid import UID

from maseg_nnunet.readers.codestream import (
    Codestream,
    CodestreamError,
    IncompleteError,
    check_jpeg2000_end,
    check_jpeg_end,
    is_jpeg_ls,
    parse_jpeg,
    parse_jpeg2000,
)

PLUGIN: Final = "maseg"
"""The name under which pydicom knows the plugin."""

_JPEG: Final = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
_JPEG_LS: Final = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_JPEG_2000: Final = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)

_JP2_BOX: Final = b"\0\0\0\x0cjP  "
_CODESTREAMS: Final = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", _JP2_BOX)
_RLE_FIRST_OFFSET: Final = (64).to_bytes(4, "little")

SYNTAXES: Final = (uid.RLELossless, *_JPEG, *_JPEG_LS, *_JPEG_2000)
"""The compressed transfer syntaxes that are decoded here (PS3.5 section 10 and annex A)."""

# pydicom reads this variable and needs these two names. setup.cfg states the versions.
DECODER_DEPENDENCIES: Final = dict.fromkeys(SYNTAXES, ("numpy", "imagecodecs"))


def is_available(syntax: str) -> bool:
    """Whether this build of imagecodecs has the codec of a transfer syntax."""
    if syntax == uid.RLELossless:
        return True
    codec = "JPEG8" if syntax in _JPEG else "JPEGLS" if syntax in _JPEG_LS else "JPEG2K" if syntax in _JPEG_2000 else ""
    return bool(codec) and bool(getattr(imagecodecs, codec).available)


def register() -> None:
    """Add the plugin to pydicom's decoders, once in a process.

    It is added behind pydicom's own plugins, so it must be asked for by its name.
    """
    for syntax in SYNTAXES:
        decoder = get_decoder(syntax)
        if PLUGIN not in decoder.available_plugins:
            decoder.add_plugin(PLUGIN, (__name__, "decode_frame"))


def decode(
    data: bytes,
    syntax: str,
    vr: str,
    shape: tuple[int, int],
    *,
    frames: int = 1,
    bits_allocated: int,
    bits_stored: int,
    signed: bool = False,
) -> npt.NDArray[Any]:
    """Decode the value of a PixelData element through pydicom, native or compressed.

    Args:
        data: The element's value.
        syntax: UID of the transfer syntax.
        vr: VR of the element, OB or OW.
        shape: (rows, columns) of a frame.
        frames: Number of frames in `data`.
        bits_allocated: BitsAllocated of the header.
        bits_stored: BitsStored of the header.
        signed: Whether PixelRepresentation is 1.

    Returns:
        Shape (rows, columns) for one frame, else (frames, rows, columns). Samples are as encoded, unused bits included,
        in native byte order. The array may be read-only.

    Raises:
        Exception: Any error of pydicom or of a decoder.
    """
    options: dict[str, Any] = {
        "rows": shape[0],
        "columns": shape[1],
        "samples_per_pixel": 1,
        "number_of_frames": frames,
        "bits_allocated": bits_allocated,
        "bits_stored": bits_stored,
        "pixel_representation": int(signed),
        "photometric_interpretation": "MONOCHROME2",
        "pixel_keyword": "PixelData",
        "pixel_vr": vr,
        "correct_unused_bits": False,
    }
    if syntax in SYNTAXES:
        corrections = {"apply_j2k_sign_correction": False, "apply_jls_sign_correction": False}
        options |= {"decoding_plugin": PLUGIN, "allow_excess_frames": False, **corrections}
    else:
        options["view_only"] = True
    pixels, _ = get_decoder(syntax).as_array(data, raw=True, **options)
    return pixels if pixels.dtype.isnative else pixels.astype(pixels.dtype.newbyteorder("="))


def join_fragments(data: bytes) -> bytes:
    """Join the fragments of the only frame in the encapsulated `data` (PS3.5 A.4).

    The Basic Offset Table is not used: writers leave it out, or give it an offset for each fragment.
    """
    table, *fragments = generate_fragments(data)
    if not fragments or table.startswith(_CODESTREAMS):
        fragments.insert(0, table)
    return b"".join(fragments)


def syntax_of(frame: bytes, syntax: UID) -> UID:
    """The transfer syntax of the codestream `frame`: `syntax`, or one of another family if the content shows that."""
    family: tuple[UID, ...]
    if frame.startswith((b"\xff\x4f\xff\x51", _JP2_BOX)):
        family = _JPEG_2000
    elif frame.startswith(_CODESTREAMS):
        family = _JPEG_LS if is_jpeg_ls(frame) else _JPEG
    elif frame[4:8] == _RLE_FIRST_OFFSET and frame[1:4] == bytes(3):
        family = (uid.RLELossless,)
    else:
        return syntax
    return syntax if syntax in family else family[-1]


def inspect(frame: bytes, syntax: str, rows: int, columns: int, bits_allocated: int) -> Codestream:
    """Read the header of the compressed `frame` and check it against the values of the DICOM header.

    Raises CodestreamError if they differ or the frame is damaged.
    """
    if syntax == uid.RLELossless:
        _check_rle(frame, bits_allocated)
        return Codestream(rows, columns, 1, bits_allocated)
    found = parse_jpeg2000(frame) if syntax in _JPEG_2000 else parse_jpeg(frame)
    if (found.rows, found.columns) != (rows, columns):
        raise CodestreamError("the codestream's size is not Rows x Columns of the header")
    if found.components != 1:
        raise CodestreamError("the codestream has more than one sample per pixel")
    if found.precision > bits_allocated:
        raise CodestreamError("the codestream has more bits than BitsAllocated")
    return found


def check_end(frame: bytes, syntax: str) -> None:
    """Raise CodestreamError if the compressed `frame` is truncated. RLE is not checked here: its decoder notices."""
    if syntax in _JPEG_2000:
        check_jpeg2000_end(frame)
    elif syntax != uid.RLELossless:
        check_jpeg_end(frame)


def decode_frame(frame: bytes, runner: DecodeRunner) -> memoryview:
    """Decode one frame; pydicom calls this.

    Sets the runner's `bits_allocated` to that of the returned samples.

    Returns:
        The samples, row by row, in native byte order.

    Raises:
        CodestreamError: The frame's header is damaged or does not fit the DICOM header.
        Exception: Any error of imagecodecs on a damaged frame.
    """
    syntax, rows, columns = runner.transfer_syntax, runner.rows, runner.columns
    inspect(frame, syntax, rows, columns, runner.bits_allocated)
    if syntax == uid.RLELossless:
        size = rows * columns * runner.bits_allocated // 8
        frame = _without_padding(frame, rows * columns, runner.bits_allocated // 8)
        return memoryview(imagecodecs.dicomrle_decode(frame, f"<u{runner.bits_allocated // 8}", out=bytearray(size)))
    decoded = _decode(frame, syntax)
    if decoded.shape != (rows, columns):
        raise CodestreamError("the codestream's size is not Rows x Columns of the header")
    runner.set_option("bits_allocated", decoded.dtype.itemsize * 8)
    return np.ascontiguousarray(decoded).data.cast("B")


def _decode(frame: bytes, syntax: str) -> npt.NDArray[Any]:
    if syntax in _JPEG:
        return np.asarray(imagecodecs.jpeg_decode(frame))
    if syntax in _JPEG_LS:
        return np.asarray(imagecodecs.jpegls_decode(frame))
    return np.asarray(imagecodecs.jpeg2k_decode(frame))


def _without_padding(frame: bytes, pixels: int, segments: int) -> bytes:
    """An RLE frame without zero bytes after its end, of which the decoder takes every two as one more sample."""
    if not frame.endswith(b"\0\0"):
        return frame
    (last,) = struct.unpack_from("<L", frame, 4 * segments)
    excess = 2 * (len(imagecodecs.packbits_decode(frame[last:])) - pixels)
    return frame[:-excess] if excess > 0 and not frame[-excess:].strip(b"\0") else frame


def _check_rle(frame: bytes, bits_allocated: int) -> None:
    """Check the RLE header (PS3.5 G.5), which the decoder trusts: one segment per byte of a sample, in order."""
    if len(frame) < 64:
        raise IncompleteError("the RLE frame ends in its header")
    count, *offsets = struct.unpack_from("<16L", frame)
    if count != bits_allocated // 8:
        raise CodestreamError("the RLE frame does not have one segment for each byte of a sample")
    starts = [*offsets[:count], len(frame)]
    if starts[0] != 64 or any(before >= after for before, after in itertools.pairwise(starts)):
        raise CodestreamError("the segments of the RLE frame are not in order")


register()

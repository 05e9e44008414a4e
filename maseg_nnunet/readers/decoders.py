"""Decoding of compressed frames by imagecodecs, as a plug-in of pydicom 3's decoders.

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

One gray sample a pixel. Native syntaxes (implicit and explicit little endian, explicit big endian, deflated) need no
decoder: pydicom reads them itself. HTJ2K goes through OpenJPEG, not OpenJPH (`htj2k_decode`), which gives back
uninitialized memory for a codestream that is cut off. No decoder can see every flipped bit: entropy-coded data decode
to something. What can be seen (`codestream.py`: size, bits, completeness) is looked at before.
"""

from __future__ import annotations

import itertools
import struct
from typing import Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder

from maseg_nnunet.readers.codestream import (
    Codestream,
    CodestreamError,
    IncompleteError,
    check_jpeg2000_end,
    check_jpeg_end,
    parse_jpeg,
    parse_jpeg2000,
)

PLUGIN: Final = "maseg"
"""The plug-in's name among pydicom's."""

_JPEG: Final = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
_JPEG_LS: Final = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_JPEG_2000: Final = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)

SYNTAXES: Final = (uid.RLELossless, *_JPEG, *_JPEG_LS, *_JPEG_2000)
"""Compressed transfer syntaxes that are decoded here."""

# pydicom asks for these two names. Numbers of versions are left to setup.cfg.
DECODER_DEPENDENCIES: Final = dict.fromkeys(SYNTAXES, ("numpy", "imagecodecs"))


def is_available(syntax: str) -> bool:
    """Whether this build of imagecodecs has the codec of a transfer syntax."""
    if syntax == uid.RLELossless:
        return True
    codec = "JPEG8" if syntax in _JPEG else "JPEGLS" if syntax in _JPEG_LS else "JPEG2K" if syntax in _JPEG_2000 else ""
    return bool(codec) and bool(getattr(imagecodecs, codec).available)


def register() -> None:
    """Make the plug-in known to pydicom, once a process. It goes behind pydicom's own: ask for it by its name."""
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
    """The frames of a PixelData element's value, native or compressed, through pydicom.

    Shape (rows, columns) for one frame, else (frames, rows, columns); samples as they lie there, unused bits included,
    in the machine's byte order, perhaps read-only. `vr` is the element's. Raises whatever pydicom and decoders raise.
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


def inspect(frame: bytes, syntax: str, rows: int, columns: int, bits_allocated: int) -> Codestream:
    """What the compressed `frame` says of itself, checked against the header. Raises CodestreamError."""
    if syntax == uid.RLELossless:
        _check_rle(frame, bits_allocated)
        return Codestream(rows, columns, 1, bits_allocated)
    found = parse_jpeg2000(frame) if syntax in _JPEG_2000 else parse_jpeg(frame)
    if (found.rows, found.columns) != (rows, columns):
        raise CodestreamError("the codestream's size is not Rows x Columns of the header")
    if found.components != 1:
        raise CodestreamError("the codestream has more than one sample a pixel")
    if found.precision > bits_allocated:
        raise CodestreamError("the codestream has more bits than BitsAllocated")
    return found


def check_end(frame: bytes, syntax: str) -> None:
    """Raise CodestreamError where the compressed `frame` is cut off. RLE is not looked at: its decoder notices."""
    if syntax in _JPEG_2000:
        check_jpeg2000_end(frame)
    elif syntax != uid.RLELossless:
        check_jpeg_end(frame)


def decode_frame(frame: bytes, runner: DecodeRunner) -> memoryview:
    """pydicom's hook: one frame's samples, row by row, in the machine's byte order.

    Sets the runner's `bits_allocated` to that of the samples returned. Raises CodestreamError, or what imagecodecs
    raises, on a frame that can't be decoded.
    """
    syntax, rows, columns = runner.transfer_syntax, runner.rows, runner.columns
    inspect(frame, syntax, rows, columns, runner.bits_allocated)
    if syntax == uid.RLELossless:
        size = rows * columns * runner.bits_allocated // 8
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


def _check_rle(frame: bytes, bits_allocated: int) -> None:
    """The RLE header (PS3.5 G.5): as many segments as bytes a sample, in order. The decoder itself trusts it."""
    if len(frame) < 64:
        raise IncompleteError("the RLE frame ends in its header")
    count, *offsets = struct.unpack_from("<16L", frame)
    if count != bits_allocated // 8:
        raise CodestreamError("the RLE frame has not one segment for each byte of a sample")
    starts = [*offsets[:count], len(frame)]
    if starts[0] != 64 or any(before >= after for before, after in itertools.pairwise(starts)):
        raise CodestreamError("the RLE frame's segments do not follow one another")


register()

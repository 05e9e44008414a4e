"""From PixelData to stored values: size limits, decoding, unused bits, sign, padding, and the modality LUT.

Not for VOI look-up tables (`luts.py`) and not for what the image shows (`header.py`). Rules: DICOM PS3.5 section 8
(bits and encapsulation), PS3.3 C.7.5.1.1.2 (padding), C.11.1 (modality LUT).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from maseg_nnunet.arrays import Pixels, Region
from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.readers import decoders
from maseg_nnunet.readers.attributes import code, first_level, integer, is_present, items, levels, number, words
from maseg_nnunet.readers.codestream import CodestreamError, IncompleteError, check_length
from maseg_nnunet.readers.lut_table import read_table
from maseg_nnunet.readers.refusals import check_megapixels

_NATIVE: Final = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
_GRAY: Final = ("MONOCHROME1", "MONOCHROME2")
_ITEM: Final = b"\xfe\xff\x00\xe0"
_LARGEST_OUTPUT: Final = float(1 << 30)


@dataclass(frozen=True)
class Layout:
    """How the samples are stored in PixelData (PS3.3 C.7.6.3).

    Attributes:
        bits_allocated: 8, 16 or 32.
        first_bit: Number of unused bits below the sample, from HighBit.
        signed: Whether PixelRepresentation is 1.
        inverted: Whether the image is MONOCHROME1.
    """

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    first_bit: int
    signed: bool
    inverted: bool

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the largest value that the stored bits allow."""
        if self.signed:
            return -(1 << self.bits_stored - 1), (1 << self.bits_stored - 1) - 1
        return 0, (1 << self.bits_stored) - 1


@dataclass(frozen=True, eq=False)
class Stored:
    """Pixels after the modality LUT.

    Attributes:
        pixels: Shape (rows, columns), integer or float32, read-only. Padding is set to the dark end.
        minimum: Least value outside the padding.
        maximum: Largest value outside the padding.
        limits: Least and largest value that a pixel could have.
        shifted: Whether HighBit required a shift.
        relabelled: Whether the pixels were compressed otherwise than the transfer syntax says.
    """

    pixels: Pixels
    minimum: float
    maximum: float
    limits: tuple[float, float]
    shifted: bool
    relabelled: bool


def read_layout(dataset: Dataset, max_megapixels: float) -> Layout:
    """Read and check the image pixel module (PS3.3 C.7.6.3).

    Raises:
        RefusedError: COLOUR, TOO_LARGE, or UNREADABLE if an attribute is missing or impossible.
    """
    photometric = code(dataset, "PhotometricInterpretation")
    if integer(dataset, "SamplesPerPixel") not in (None, 1) or (photometric and photometric not in _GRAY):
        raise RefusedError(Reason.COLOUR, "expected one gray sample per pixel, MONOCHROME1 or MONOCHROME2")
    if not photometric:
        raise RefusedError(Reason.UNREADABLE, "PhotometricInterpretation is missing: black can't be told from white")
    rows, columns = integer(dataset, "Rows") or 0, integer(dataset, "Columns") or 0
    if rows < 1 or columns < 1:
        raise RefusedError(Reason.UNREADABLE, "Rows or Columns is missing or not a positive number")
    check_megapixels(rows, columns, max_megapixels)
    allocated = integer(dataset, "BitsAllocated")
    stored = integer(dataset, "BitsStored")
    sign = integer(dataset, "PixelRepresentation")
    if allocated not in (8, 16, 32) or stored is None or not 1 <= stored <= allocated or sign not in (0, 1):
        raise RefusedError(
            Reason.UNREADABLE, "BitsAllocated, BitsStored or PixelRepresentation is missing or impossible"
        )
    high = integer(dataset, "HighBit")
    first = 0 if high is None else high - stored + 1
    if not 0 <= first <= allocated - stored:
        raise RefusedError(Reason.UNREADABLE, "HighBit contradicts BitsStored and BitsAllocated")
    return Layout(rows, columns, allocated, stored, first, sign == 1, photometric == "MONOCHROME1")


def check_decodable(syntax: UID | None) -> None:
    """Raise RefusedError (NO_DECODER) if no decoder knows the transfer syntax. None, for one not stated, passes."""
    if syntax is None or syntax in _NATIVE:
        return
    if syntax not in decoders.SYNTAXES:
        name = syntax.name if syntax.name != str(syntax) else "a transfer syntax that DICOM does not list"
        raise RefusedError(Reason.NO_DECODER, f"{name}: convert it to JPEG 2000 lossless with DCMTK or python-gdcm")
    if not decoders.is_available(syntax):
        raise RefusedError(Reason.NO_DECODER, f"{syntax.name}: install a build of imagecodecs with this codec")


def read_stored(dataset: Dataset, syntax: UID | None, layout: Layout) -> Stored:
    """Decode the one frame of a data set and apply the modality LUT.

    Args:
        dataset: The data set with PixelData.
        syntax: Transfer syntax; if it is None, native pixels are read in the byte order of the data set.
        layout: What `read_layout` returned for the data set.

    Raises:
        RefusedError: NO_DECODER, NO_PIXELS, TRUNCATED, UNREADABLE, or NO_LUT if the modality LUT is impossible.
    """
    check_decodable(syntax)
    modality = _read_modality(dataset, layout)
    raw, shift, relabelled = _decode(dataset, syntax, layout)
    pixels, low, high = _stored_bits(raw, layout, shift)
    padding = _read_padding(dataset, layout)
    kept = None
    if padding is not None and low <= padding[1] and high >= padding[0]:
        kept = pixels > padding[1]
        if low < padding[0]:
            kept |= pixels < padding[0]
        low, high = _range_outside(pixels, padding, (low, high))
    pixels = modality.apply(pixels)
    limits = modality.limits(layout.limits)
    # A table need not be monotonic, so the least and largest input may not give the least and largest output.
    ends = modality.limits((low, high)) if modality.table is None else _range_of(pixels, kept)
    if kept is not None:
        # A product is faster than a copy with a masked assignment, and black is 0 in nearly every file.
        pixels = pixels * kept
        black = np.asarray(limits[1] if layout.inverted else limits[0]).astype(pixels.dtype)
        if black:
            np.copyto(pixels, black, where=~kept)
    pixels.setflags(write=False)
    return Stored(pixels, *ends, limits, shifted=shift > 0, relabelled=relabelled)


def _decode(dataset: Dataset, syntax: UID | None, layout: Layout) -> tuple[Pixels, int, bool]:
    """The samples as encoded, the number of bits to shift them down by, and whether the transfer syntax was wrong."""
    try:
        element = dataset["PixelData"]
        data, vr = element.value, element.VR
    except Exception:  # pydicom raises many kinds of error on a malformed element
        raise RefusedError(Reason.UNREADABLE, "the element PixelData can't be read") from None
    if not data:
        raise RefusedError(Reason.NO_PIXELS, "the element PixelData is empty")
    if not isinstance(data, bytes):
        raise RefusedError(Reason.UNREADABLE, "the element PixelData can't be read")
    if syntax is None:
        if data.startswith(_ITEM):
            raise RefusedError(Reason.NO_DECODER, "the pixel data are compressed, but TransferSyntaxUID is missing")
        syntax = uid.ExplicitVRLittleEndian if dataset.original_encoding[1] else uid.ExplicitVRBigEndian
    shift = layout.first_bit
    relabelled = False
    if syntax in decoders.SYNTAXES:
        frame, content, shift = _check_frame(data, syntax, layout)
        relabelled, syntax, data = content != syntax, content, encapsulate([frame])
    elif data.startswith(_ITEM) and len(data) < layout.rows * layout.columns * layout.bits_allocated // 8:
        raise RefusedError(Reason.UNREADABLE, f"the pixel data are compressed, but the header says {syntax.name}")
    else:
        _check_length(len(data), layout)
    try:
        pixels = decoders.decode(
            data,
            syntax,
            vr,
            (layout.rows, layout.columns),
            bits_allocated=layout.bits_allocated,
            bits_stored=layout.bits_stored,
            signed=layout.signed,
        )
    except Exception:  # any error of a decoder on a damaged frame
        raise RefusedError(Reason.UNREADABLE, "the pixel data can't be decoded: the file is damaged") from None
    return pixels, shift, relabelled


def _check_frame(data: bytes, syntax: UID, layout: Layout) -> tuple[bytes, UID, int]:
    """Check the codestream before it is decoded. Raises RefusedError.

    Returns:
        The codestream, the transfer syntax that decodes it, and the shift.
    """
    if not data.startswith(_ITEM):
        raise RefusedError(Reason.UNREADABLE, f"the pixel data are not compressed, but the header says {syntax.name}")
    try:
        frame = decoders.join_fragments(data)
        content = decoders.syntax_of(frame, syntax)
        found = decoders.inspect(frame, content, layout.rows, layout.columns, layout.bits_allocated)
        decoders.check_end(frame, content)
        check_length(len(frame), found)
    except IncompleteError as error:
        raise RefusedError(Reason.TRUNCATED, f"{error}") from error
    except CodestreamError as error:
        raise RefusedError(Reason.UNREADABLE, f"{error}: the file is damaged") from error
    except Exception:  # pydicom raises many kinds of error on damaged encapsulation
        raise RefusedError(Reason.UNREADABLE, "the encapsulation of the pixel data is damaged") from None
    # If the codestream has fewer bits than HighBit needs, the samples were shifted before they were encoded.
    shift = layout.first_bit if found.precision >= layout.first_bit + layout.bits_stored else 0
    return frame, content, shift


def _check_length(length: int, layout: Layout) -> None:
    sample = layout.bits_allocated // 8
    expected = layout.rows * layout.columns * sample
    if length < expected:
        raise RefusedError(Reason.TRUNCATED, f"the pixel data have {length} bytes, expected {expected}")
    # A few excess bytes are padding; an excess row or column is an image of another size.
    if length - expected > 1 and length - expected >= min(layout.rows, layout.columns) * sample:
        raise RefusedError(Reason.UNREADABLE, f"the pixel data have {length} bytes, but Rows x Columns need {expected}")


def _stored_bits(raw: Pixels, layout: Layout, shift: int) -> tuple[Pixels, int, int]:
    """The stored bits with their sign, and their range. Copies only if bits must change."""
    size = layout.bits_allocated // 8
    least, largest = layout.limits
    pixels = raw.view(f"u{size}")
    if shift:
        pixels = pixels >> pixels.dtype.type(shift)
    if layout.signed:
        pixels = pixels.view(f"i{size}")
    low, high = int(pixels.min()), int(pixels.max())
    if least <= low and high <= largest:
        return pixels, low, high
    if layout.signed:
        unused = pixels.dtype.type(layout.bits_allocated - layout.bits_stored)
        pixels = (pixels << unused) >> unused
    else:
        pixels = pixels & pixels.dtype.type(largest)
    return pixels, int(pixels.min()), int(pixels.max())


def _read_padding(dataset: Dataset, layout: Layout) -> tuple[int, int] | None:
    """PixelPaddingValue to PixelPaddingRangeLimit as (least, largest) stored value; None if there is no padding."""
    value = _stored_value(words(dataset, "PixelPaddingValue"), layout)
    if value is None:
        return None
    limit = _stored_value(words(dataset, "PixelPaddingRangeLimit"), layout)
    return (value, value) if limit is None else (min(value, limit), max(value, limit))


def _stored_value(found: tuple[int, ...], layout: Layout) -> int | None:
    """The stored value of a word, whether it was read as US or as SS; None unless there is exactly one word."""
    if len(found) != 1:
        return None
    value = found[0] & 0xFFFF
    if layout.signed and value > layout.limits[1]:
        value -= 0x10000 if value & 0x8000 else 1 << layout.bits_stored
    return value


def _range_outside(pixels: Pixels, padding: tuple[int, int], whole: tuple[int, int]) -> tuple[int, int]:
    """Least and largest value outside `padding`; equal if nothing is outside. `whole` is the range of all pixels.

    Unsigned subtraction wraps the padding around to the far end, so one pass finds the value next to it.
    """
    low, high = whole
    if low >= padding[0] and high <= padding[1]:
        return low, low
    unsigned = pixels.view(f"u{pixels.dtype.itemsize}")
    modulus = 1 << 8 * pixels.dtype.itemsize
    if low >= padding[0]:
        above = padding[1] + 1
        low = above + int((unsigned - unsigned.dtype.type(above % modulus)).min())
    if high <= padding[1]:
        below = padding[0] - 1
        high = below - int((unsigned.dtype.type(below % modulus) - unsigned).min())
    return low, high


def _range_of(pixels: Pixels, kept: Region | None) -> tuple[float, float]:
    values = pixels if kept is None else pixels[kept]
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


@dataclass(frozen=True, eq=False)
class _Modality:
    """The modality LUT (PS3.3 C.11.1): `table` from the stored value `first` on, else slope and intercept."""

    slope: float = 1.0
    intercept: float = 0.0
    first: int = 0
    table: Pixels | None = None

    def apply(self, stored: Pixels) -> Pixels:
        """Apply it: integers if the mapping gives integers, else float32."""
        if self.table is not None:
            index = np.clip(stored.astype(np.int64) - self.first, 0, len(self.table) - 1)
            return np.asarray(self.table[index])
        if self.slope == 1 and self.intercept == 0:
            return stored
        if self.slope == 1 and self.intercept == int(self.intercept):
            return np.asarray(stored.astype(np.int32) + np.int32(self.intercept))
        output = np.multiply(stored, np.float32(self.slope), dtype=np.float32)
        output += np.float32(self.intercept)
        return np.asarray(output)

    def limits(self, stored: tuple[int, int]) -> tuple[float, float]:
        """Least and largest output for stored values within `stored`."""
        if self.table is not None:
            return float(self.table.min()), float(self.table.max())
        ends = [value * self.slope + self.intercept for value in stored]
        return min(ends), max(ends)


def _read_modality(dataset: Dataset, layout: Layout) -> _Modality:
    """Read ModalityLUTSequence, else RescaleSlope and RescaleIntercept, at the top level or in functional groups."""
    for item in items(dataset, "ModalityLUTSequence")[:1]:
        table = read_table(item, layout.limits)
        if table is None:
            raise RefusedError(Reason.NO_LUT, "the modality LUT's table does not fit its descriptor")
        return _Modality(first=table.first, table=table.values)
    level = first_level(levels(dataset), "RescaleSlope")
    found = [
        number(level, keyword) if is_present(level, keyword) else default
        for keyword, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    ]
    slope, intercept = found
    if slope is None or intercept is None or slope == 0:
        raise RefusedError(Reason.NO_LUT, "RescaleSlope is zero, or RescaleSlope or RescaleIntercept is not a number")
    modality = _Modality(slope, intercept)
    if max(abs(end) for end in modality.limits(layout.limits)) > _LARGEST_OUTPUT:
        raise RefusedError(Reason.NO_LUT, "RescaleSlope and RescaleIntercept give impossible values")
    return modality

"""A DICOM file, whatever it is called, to a Mammogram. Rules stand in the modules beside this one; the order is here.

With preamble or without, in any transfer syntax of `decoders.py`. Pixels stay in stored orientation. Every refusal is
a RefusedError whose text quotes no header; pydicom's own errors do, so they are not chained to it.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pydicom
from pydicom import uid
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID

from maseg_nnunet.arrays import Spacing
from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.mammogram import Flag, Mammogram
from maseg_nnunet.readers.attributes import text
from maseg_nnunet.readers.header import Header, parse_header
from maseg_nnunet.readers.luts import read_luts
from maseg_nnunet.readers.pixels import Layout, check_decodable, read_layout, read_stored
from maseg_nnunet.readers.quiet import silence_pydicom
from maseg_nnunet.readers.spacing import GIVEN, check_extent, given_spacing

_PREAMBLE: Final = 128
_MAGIC: Final = b"DICM"
_FIRST_GROUPS: Final = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
_GROUP_LENGTH: Final = b"\x02\x00\x00\x00UL\x04\x00"
_DEFLATED: Final = uid.DeflatedExplicitVRLittleEndian.encode()
_PLAIN: Final = uid.ExplicitVRLittleEndian.encode()
_UNDEFINED: Final = 0xFFFFFFFF
_START: Final = 4096
_CHUNK: Final = 1 << 20
_BYTES_PER_MEGAPIXEL: Final = 4e6
_HEADER_BYTES: Final = 1 << 26
"""What a file may hold beside its pixels: private elements of some makers are large."""

_MOST_READS: Final = 100_000
"""Two or three are made for an element; headers of mammograms have some hundred of them, private ones included."""
_MOST_ITEMS: Final = 20_000
_ITEMS: Final = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
"""The tag of a sequence's item, (FFFE,E000), in either order of bytes."""
_NO_LIMIT: Final = float("inf")


class _Stream(io.BufferedReader):
    """A file of which pydicom reads no more than `budget` bytes: it keeps every element before the pixels in memory.

    Nor more than _MOST_READS pieces with _MOST_ITEMS items in them: a small file can hold empty ones for minutes, at
    any depth of its sequences. Without a budget all of these are free.
    """

    budget: float = _NO_LIMIT
    reads: int = 0
    items: int = 0

    @property
    def name(self) -> str | None:
        """The file's, which pydicom asks for; None in memory."""
        return getattr(self.raw, "name", None)

    def read(self, size: int | None = -1, /) -> bytes:
        """As any file's. Raises RefusedError beyond what is allowed."""
        if size is None or size < 0:  # which pydicom does to inflate the rest, without a limit
            raise RefusedError(Reason.UNREADABLE, "it is deflated, and does not say so at its beginning")
        if self.budget == _NO_LIMIT:
            return super().read(size)
        found = super().read(int(min(size, self.budget + 1)))
        self.budget -= len(found)
        self.reads += 1
        self.items += max(found.count(tag) for tag in _ITEMS)
        self.check()
        return found

    def check(self) -> None:
        """Raise RefusedError where more was read than is allowed."""
        if self.budget < 0 or self.reads > _MOST_READS or self.items > _MOST_ITEMS:
            raise RefusedError(Reason.TOO_LARGE, "there is more before its pixels than any image needs")


def is_dicom(start: bytes) -> bool:
    """Whether a file whose first 132 bytes or more are `start` may be DICOM: a preamble, or group 2 or 8 at once."""
    return start[_PREAMBLE : _PREAMBLE + 4] == _MAGIC or (len(start) >= 8 and start[:2] in _FIRST_GROUPS)


def read_dicom_header(path: Path, max_megapixels: float) -> Header:
    """As `readers.read_header`."""
    return _read(path, max_megapixels, pixels=False)[0]


def read_dicom(
    path: Path, *, spacing_mm: float | Spacing | None, raw_windows: bool, max_megapixels: float
) -> Mammogram:
    """As `readers.read_mammogram`."""
    header, layout, dataset = _read(path, max_megapixels, pixels=True)
    flags = set(header.flags)
    spacing, source = header.spacing, header.spacing_source
    if spacing is None:
        spacing, source = given_spacing(spacing_mm), GIVEN
        flags.add(Flag.SPACING_GIVEN)
    if spacing is None:
        raise RefusedError(Reason.NO_SPACING, "the header has no pixel spacing: give it with --spacing-mm")
    check_extent((layout.rows, layout.columns), spacing)
    stored = read_stored(dataset, transfer_syntax(dataset), layout)
    luts, lut_flags = read_luts(
        dataset,
        stored,
        inverted=layout.inverted,
        vendor=header.vendor,
        intent=header.intent,
        raw_windows=raw_windows,
    )
    flags.update(lut_flags)
    if stored.shifted:
        flags.add(Flag.HIGH_BIT_SHIFTED)
    if stored.minimum == stored.maximum:
        flags.add(Flag.CONSTANT)
    return Mammogram(
        path=path,
        pixels=stored.pixels,
        spacing=spacing,
        spacing_source=source,
        luts=luts,
        intent=header.intent,
        view=header.view,
        side=header.side,
        vendor=header.vendor,
        model=header.model,
        sop_class=header.sop_class,
        identity=header.identity,
        flags=tuple(flag for flag in Flag if flag in flags),
        horizontal_flip=header.horizontal_flip,
        patient_orientation=header.patient_orientation,
    )


def transfer_syntax(dataset: FileDataset) -> UID | None:
    """TransferSyntaxUID, or None where the file has none."""
    found = text(dataset.file_meta, "TransferSyntaxUID") if dataset.file_meta else ""
    return UID(found) if found else None


def load(path: Path, max_bytes: float, *, pixels: bool = True) -> FileDataset:
    """Parse a DICOM file, whole or up to its pixels.

    Raises RefusedError, also where what is read has more than `max_bytes`, deflated or not.
    """
    return _load(path, max_bytes, pixels=pixels)[0]


def _load(path: Path, max_bytes: float, *, pixels: bool) -> tuple[FileDataset, int | None]:
    """The data set, with or without its pixels, and at which byte the file goes on; None at its end.

    A deflated file goes on at 0: what follows is not to be had without the beginning.
    """
    silence_pydicom()
    with _opened(path) as file:
        start = file.read(_START)
        if not start:
            raise RefusedError(Reason.TRUNCATED, "the file is empty")
        if not is_dicom(start):
            raise RefusedError(Reason.NOT_DICOM, "it has neither a DICOM preamble nor a data set's first element")
        if pixels:
            _check_size(file, max_bytes)
        is_deflated = _DEFLATED in start
        stream = _inflated(file, start, max_bytes) if is_deflated else file
        stream.seek(0)
        stream.budget = max_bytes
        try:
            dataset = pydicom.dcmread(stream, force=True, stop_before_pixels=not pixels)
        except Exception:
            stream.check()  # within a sequence pydicom makes an error of its own of ours
            raise
        end = 0 if is_deflated else file.tell()
        size = os.fstat(file.fileno()).st_size
    if not dataset:
        if start[_PREAMBLE : _PREAMBLE + 4] == _MAGIC:
            raise RefusedError(Reason.TRUNCATED, "the file ends before its data set")
        raise RefusedError(Reason.NOT_DICOM, "no DICOM element could be read")
    return dataset, end if end < size else None


def _read_on(dataset: FileDataset, path: Path, max_bytes: float, offset: int) -> FileDataset:
    """`dataset` with the elements from the byte `offset` on: parsing a long header twice takes as long as decoding."""
    if not offset:
        return load(path, max_bytes)
    implicit, little_endian = dataset.original_encoding
    with _opened(path) as file:
        _check_size(file, max_bytes)
        file.seek(offset)
        dataset.update(read_dataset(file, bool(implicit), bool(little_endian)))
    return dataset


@contextmanager
def _opened(path: Path) -> Iterator[_Stream]:
    """The file, open; whatever goes wrong while it is read is a refusal."""
    try:
        with _Stream(path.open("rb", buffering=0)) as file:
            yield file
    except RefusedError:
        raise
    except Exception as error:  # pydicom raises many kinds on a broken file, RecursionError among them
        if isinstance(error, OSError) and error.strerror:
            raise RefusedError(Reason.UNREADABLE, f"the file can't be read: {error.strerror}") from error
        raise RefusedError(Reason.UNREADABLE, "the DICOM data set can't be parsed: the file is damaged") from None


def _check_size(file: _Stream, max_bytes: float) -> None:
    if os.fstat(file.fileno()).st_size > max_bytes:
        raise RefusedError(Reason.TOO_LARGE, f"the file has more than {max_bytes / 1e6:.0f} MB")


def _inflated(file: _Stream, start: bytes, max_bytes: float) -> _Stream:
    """A deflated file as one that is not, which says so: pydicom inflates without a limit."""
    base = _PREAMBLE + 4 if start[_PREAMBLE : _PREAMBLE + 4] == _MAGIC else 0
    if start[base : base + 8] != _GROUP_LENGTH:
        raise RefusedError(Reason.UNREADABLE, "a deflated file needs the length of its file meta information")
    begin = base + 12 + int.from_bytes(start[base + 8 : base + 12], "little")
    if begin > len(start) or _DEFLATED not in start[base:begin]:
        # pydicom goes by the groups of the elements: a false length would hide this one.
        raise RefusedError(Reason.UNREADABLE, "the length of its file meta information is wrong")
    file.seek(begin)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = io.BytesIO()
    plain.write(start[:begin].replace(_DEFLATED, _PLAIN.ljust(len(_DEFLATED), b"\0")))
    while not inflater.eof:
        chunk = inflater.unconsumed_tail or file.read(_CHUNK)
        if not chunk:
            raise RefusedError(Reason.TRUNCATED, "the deflated data set has no end")
        plain.write(inflater.decompress(chunk, _CHUNK))
        if plain.tell() > max_bytes:
            raise RefusedError(Reason.TOO_LARGE, f"the file inflates to more than {max_bytes / 1e6:.0f} MB")
    return _Stream(plain)


def _is_cut_off(dataset: FileDataset) -> bool:
    """Whether the last element is shorter than it says; true of no element that has been looked at already."""
    try:
        last: object = dataset.get_item(max(dataset.keys()))
    except Exception:  # an empty element is converted here, and may be of a kind that pydicom does not know
        return False
    return isinstance(last, RawDataElement) and last.value is not None and len(last.value) < last.length < _UNDEFINED


def _read(path: Path, max_megapixels: float, *, pixels: bool) -> tuple[Header, Layout, FileDataset]:
    """Header, layout and data set. What can be refused without pixels is refused before they are read."""
    max_bytes = max_megapixels * _BYTES_PER_MEGAPIXEL + _HEADER_BYTES
    dataset, offset = _load(path, max_bytes, pixels=False)
    if _is_cut_off(dataset):
        raise RefusedError(Reason.TRUNCATED, "the file ends within its header")
    header = parse_header(dataset, path)
    if offset is None:
        raise RefusedError(Reason.NO_PIXELS, "there are no pixel data, or the file ends before them")
    layout = read_layout(dataset, max_megapixels)
    check_decodable(transfer_syntax(dataset))
    if not pixels:
        return header, layout, dataset
    dataset = _read_on(dataset, path, max_bytes, offset)
    if "PixelData" not in dataset:
        if any(keyword in dataset for keyword in ("FloatPixelData", "DoubleFloatPixelData")):
            raise RefusedError(Reason.NO_PIXELS, "its pixels are floating-point numbers, which no mammogram has")
        raise RefusedError(Reason.TRUNCATED, "the file ends within its pixel data")
    return header, layout, dataset

"""Read a DICOM file into a Mammogram. This module sets the order; the rules are in the modules beside it.

Files with and without preamble are read, in every transfer syntax of `decoders.py`. Pixels stay in stored orientation.
Every refusal is a RefusedError. Its text quotes no header; pydicom's own errors do, so they are not chained to it.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import pydicom
from pydicom import uid
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID

from maseg_nnunet.arrays import GivenSpacing
from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.mammogram import Flag, Mammogram
from maseg_nnunet.readers.attributes import text
from maseg_nnunet.readers.header import Header, parse_header
from maseg_nnunet.readers.luts import read_luts
from maseg_nnunet.readers.orientation import orientation_flags
from maseg_nnunet.readers.pixels import Layout, check_decodable, read_layout, read_stored
from maseg_nnunet.readers.quiet import silence_pydicom
from maseg_nnunet.readers.refusals import os_errors_refused
from maseg_nnunet.readers.spacing import GIVEN, check_extent, extent_flags, given_spacing

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
"""Bytes that a file may have beside its pixels: private elements of some makers are large."""

_MOST_READS: Final = 100_000
"""pydicom reads two or three times per element; headers of mammograms have some hundred elements, private included."""
_MOST_ITEMS: Final = 20_000
_ITEMS: Final = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
"""The tag of a sequence's item, (FFFE,E000), in both byte orders."""
_NO_LIMIT: Final = float("inf")


class _Stream(io.BufferedReader):
    """A file from which pydicom may read at most `budget` bytes, because it keeps every element in memory.

    It may also make at most _MOST_READS reads and meet _MOST_ITEMS items: a small file of empty items, at any depth of
    its sequences, would keep pydicom busy for minutes. No limit holds while there is no budget.
    """

    budget: float = _NO_LIMIT
    reads: int = 0
    items: int = 0

    @property
    def name(self) -> str | None:
        """The file's name, which pydicom asks for; None in memory."""
        return getattr(self.raw, "name", None)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as from any file. Raises RefusedError beyond the limits."""
        if size is None or size < 0:  # as pydicom does before it inflates the rest, without a limit
            raise RefusedError(Reason.UNREADABLE, "the file is deflated but does not say so at its start")
        if self.budget == _NO_LIMIT:
            return super().read(size)
        found = super().read(int(min(size, self.budget + 1)))
        self.budget -= len(found)
        self.reads += 1
        self.items += max(found.count(tag) for tag in _ITEMS)
        self.check()
        return found

    def check(self) -> None:
        """Raise RefusedError if more was read than the limits allow."""
        if self.budget < 0 or self.reads > _MOST_READS or self.items > _MOST_ITEMS:
            raise RefusedError(Reason.TOO_LARGE, "the file has more before its pixels than any image needs")


def is_dicom(start: bytes) -> bool:
    """Whether a file may be DICOM: it has a preamble (PS3.10 section 7.1) or starts with an element of group 2 or 8.

    `start` is at least its first 132 bytes.
    """
    return start[_PREAMBLE : _PREAMBLE + 4] == _MAGIC or (len(start) >= 8 and start[:2] in _FIRST_GROUPS)


def read_dicom_header(path: Path, max_megapixels: float) -> Header:
    """Read the header of a DICOM file; see `readers.read_header`."""
    return _read(path, max_megapixels, pixels=False)[0]


def read_dicom(path: Path, *, spacing_mm: GivenSpacing | None, raw_windows: bool, max_megapixels: float) -> Mammogram:
    """Read a DICOM file; see `readers.read_mammogram`."""
    header, layout, dataset = _read(path, max_megapixels, pixels=True)
    flags = set(header.flags)
    spacing, source = header.spacing, header.spacing_source
    if spacing is None:
        spacing, source = given_spacing(spacing_mm, path), GIVEN
        if spacing is None:
            raise RefusedError(Reason.NO_SPACING, "the header has no pixel spacing: give it with --spacing-mm")
        flags.add(Flag.SPACING_GIVEN)
        flags.update(extent_flags((layout.rows, layout.columns), spacing, flags))
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
    if stored.relabelled:
        flags.add(Flag.SYNTAX_CONTRADICTED)
    if stored.minimum == stored.maximum:
        flags.add(Flag.CONSTANT)
    mammogram = Mammogram(
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
        horizontal_flip=header.horizontal_flip,
        patient_orientation=header.patient_orientation,
    )
    flags.update(orientation_flags(mammogram))
    return replace(mammogram, flags=tuple(flag for flag in Flag if flag in flags))


def transfer_syntax(dataset: FileDataset) -> UID | None:
    """TransferSyntaxUID (0002,0010), or None if the file has none."""
    found = text(dataset.file_meta, "TransferSyntaxUID") if dataset.file_meta else ""
    return UID(found) if found else None


def load(path: Path, max_bytes: float, *, pixels: bool = True) -> FileDataset:
    """Parse a DICOM file.

    Args:
        path: The file.
        max_bytes: Limit of what is read, after inflation if the file is deflated.
        pixels: Read the whole file, not only the elements before PixelData.

    Raises:
        RefusedError: The file can't be read, is not DICOM or is larger than `max_bytes`.
    """
    return _load(path, max_bytes, pixels=pixels)[0]


def _load(path: Path, max_bytes: float, *, pixels: bool) -> tuple[FileDataset, int | None]:
    """The data set, and the offset at which the rest of the file starts; None at the file's end.

    The offset of a deflated file is 0, because its rest can't be inflated without its start.
    """
    silence_pydicom()
    with _opened(path) as file:
        start = file.read(_START)
        if not start:
            raise RefusedError(Reason.TRUNCATED, "the file is empty")
        if not is_dicom(start):
            raise RefusedError(Reason.NOT_DICOM, "the file is not DICOM, PNG, TIFF, PGM or JPEG, which are read")
        if pixels:
            _check_size(file, max_bytes)
        is_deflated = _DEFLATED in start
        stream = _inflated(file, start, max_bytes) if is_deflated else file
        stream.seek(0)
        stream.budget = max_bytes
        try:
            dataset = pydicom.dcmread(stream, force=True, stop_before_pixels=not pixels)
        except Exception:
            stream.check()  # within a sequence pydicom replaces our error by its own
            raise
        end = 0 if is_deflated else file.tell()
        size = os.fstat(file.fileno()).st_size
    if not dataset:
        if start[_PREAMBLE : _PREAMBLE + 4] == _MAGIC:
            raise RefusedError(Reason.TRUNCATED, "the file ends before its data set")
        raise RefusedError(Reason.NOT_DICOM, "the file is not DICOM, PNG, TIFF, PGM or JPEG, which are read")
    return dataset, end if end < size else None


def _read_on(dataset: FileDataset, path: Path, max_bytes: float, offset: int) -> FileDataset:
    """Add the elements from byte `offset` on to `dataset`, so that a long header is not parsed twice."""
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
    """The open file; every error while it is read becomes a refusal."""
    try:
        with os_errors_refused(), _Stream(path.open("rb", buffering=0)) as file:
            yield file
    except RefusedError:
        raise
    except Exception:  # pydicom raises many kinds of error on a damaged file, RecursionError among them
        raise RefusedError(Reason.UNREADABLE, "the DICOM data set can't be parsed: the file is damaged") from None


def _check_size(file: _Stream, max_bytes: float) -> None:
    if os.fstat(file.fileno()).st_size > max_bytes:
        raise RefusedError(Reason.TOO_LARGE, f"the file has more than {max_bytes / 1e6:.0f} MB")


def _inflated(file: _Stream, start: bytes, max_bytes: float) -> _Stream:
    """The inflated file, with a transfer syntax that says so: pydicom itself inflates without a limit."""
    base = _PREAMBLE + 4 if start[_PREAMBLE : _PREAMBLE + 4] == _MAGIC else 0
    if start[base : base + 8] != _GROUP_LENGTH:
        raise RefusedError(
            Reason.UNREADABLE, "the file is deflated but does not state the length of its file meta information"
        )
    begin = base + 12 + int.from_bytes(start[base + 8 : base + 12], "little")
    if begin > len(start) or _DEFLATED not in start[base:begin]:
        # pydicom goes by group numbers, not by the length: a false length would hide the transfer syntax from us.
        raise RefusedError(Reason.UNREADABLE, "the stated length of the file meta information is wrong")
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
    """Whether the last element is shorter than its stated length. Found only if pydicom has not converted it yet."""
    try:
        last: object = dataset.get_item(max(dataset.keys()))
    except Exception:  # get_item converts an empty element, whose VR pydicom may not know
        return False
    return isinstance(last, RawDataElement) and last.value is not None and len(last.value) < last.length < _UNDEFINED


def _read(path: Path, max_megapixels: float, *, pixels: bool) -> tuple[Header, Layout, FileDataset]:
    """Header, layout and data set. Every check that needs no pixels is made before they are read."""
    max_bytes = max_megapixels * _BYTES_PER_MEGAPIXEL + _HEADER_BYTES
    dataset, offset = _load(path, max_bytes, pixels=False)
    if _is_cut_off(dataset):
        raise RefusedError(Reason.TRUNCATED, "the file ends within its header")
    header = parse_header(dataset, path)
    if offset is None:
        raise RefusedError(Reason.NO_PIXELS, "the file has no pixel data or ends before them")
    layout = read_layout(dataset, max_megapixels)
    check_decodable(transfer_syntax(dataset))
    if header.spacing is not None:
        unusual = extent_flags((layout.rows, layout.columns), header.spacing, header.flags)
        header = replace(header, flags=tuple(flag for flag in Flag if flag in {*header.flags, *unusual}))
    if not pixels:
        return header, layout, dataset
    dataset = _read_on(dataset, path, max_bytes, offset)
    if "PixelData" not in dataset:
        if any(keyword in dataset for keyword in ("FloatPixelData", "DoubleFloatPixelData")):
            raise RefusedError(Reason.NO_PIXELS, "the pixels are floating-point numbers, which no mammogram has")
        raise RefusedError(Reason.TRUNCATED, "the file ends within its pixel data")
    return header, layout, dataset

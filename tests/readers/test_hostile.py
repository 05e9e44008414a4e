"""Damaged files: what is read follows every rule, and the only error is a refusal."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid

from maseg_nnunet.errors import RefusedError
from maseg_nnunet.mammogram import Mammogram
from maseg_nnunet.readers import read_header, read_mammogram
from maseg_nnunet.voi import can_be_base
from tests.readers.dicom_factory import LOSSLESS, LOSSY, picture, table, write

ITEM = b"\xfe\xff\x00\xe0"
ITEM_END = b"\xfe\xff\x0d\xe0\0\0\0\0"
SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"

CHANGES = 40
"""Number of damaged files for each transfer syntax."""


def check(read: Mammogram, clean: Mammogram) -> None:
    """Check what holds for every image that is read, whatever its file says."""
    assert read.pixels.ndim == 2
    # The same bytes give another size only if rows and columns are exchanged or split.
    assert read.pixels.size == clean.pixels.size
    assert np.isfinite(read.pixels).all()
    assert all(0.02 <= value <= 1 for value in read.spacing)
    assert can_be_base(read.luts.luts[read.luts.base])
    shown = read.displayed()
    assert shown.shape == read.shape
    assert (shown >= 0).all()
    assert (shown <= 1).all()
    units = read.luts.to_voi_units(read.pixels)
    assert np.isfinite(units).all()


def damage(data: bytes, rng: np.random.Generator, start: int, end: int) -> bytes:
    """Change one to four bytes between `start` and `end`; sometimes remove, insert or cut off bytes too."""
    broken = bytearray(data)
    for position in rng.integers(start, end, rng.integers(1, 5)):
        broken[position] = rng.integers(0, 256)
    kind, position = rng.integers(0, 12), int(rng.integers(start, end))
    if kind == 0:
        del broken[position : position + int(rng.integers(1, 9))]
    elif kind == 1:
        broken[position:position] = rng.bytes(int(rng.integers(1, 9)))
    elif kind == 2:
        del broken[position:]
    return bytes(broken)


@pytest.mark.parametrize("syntax", (*LOSSLESS, *LOSSY), ids=lambda syntax: syntax.keyword)
def test_damage_anywhere(tmp_path: Path, syntax: uid.UID) -> None:
    path = tmp_path / "image"
    tables = [table(np.arange(64), explanation="NORMAL")]
    bits = 8 if syntax == uid.JPEGBaseline8Bit else 12
    pixels = picture(bits=8).astype(np.uint8) if bits == 8 else picture()
    write(path, pixels, bits=bits, syntax=syntax, VOILUTSequence=tables, PixelPaddingValue=5, RescaleSlope="1")
    clean, data = read_mammogram(path), path.read_bytes()
    rng = np.random.default_rng(int(syntax.replace(".", "")[-9:]))
    accepted = 0
    header = min(len(data), 1400)
    for number in range(CHANGES):
        path.write_bytes(damage(data, rng, *((0, header) if number % 2 else (132, len(data)))))
        try:
            read = read_mammogram(path)
        except RefusedError:
            continue
        accepted += 1
        check(read, clean)
        read_header(path)
    assert accepted < CHANGES  # else no change did any damage


@pytest.mark.parametrize(
    "name", ["Hologic_scout_MONOCHROME1.dcm", "Siemens_overlays_LCC.dcm", "MG_Explicit_Little.dcm"]
)
def test_damage_to_the_header_of_a_real_file(real_dicom: Path, tmp_path: Path, name: str) -> None:
    clean = read_mammogram(real_dicom / name)
    data = (real_dicom / name).read_bytes()
    rng = np.random.default_rng(len(data))
    refused = 0
    for _ in range(60):
        (tmp_path / "image").write_bytes(damage(data, rng, 0, data.index(b"\xe0\x7f\x10\x00")))
        try:
            read = read_mammogram(tmp_path / "image")
        except RefusedError:
            refused += 1
        else:
            check(read, clean)
    assert refused > 0


@pytest.mark.parametrize("name", ["Siemens_overlays_LCC.dcm"])
@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.99, 0.9999])
def test_a_real_file_that_is_cut_off(real_dicom: Path, tmp_path: Path, name: str, keep: float) -> None:
    data = (real_dicom / name).read_bytes()
    # After the pixels there are some private elements that are not needed.
    end = data.rindex(b"\xfe\xff\xdd\xe0")
    (tmp_path / "image").write_bytes(data[: int(end * keep)])
    with pytest.raises(RefusedError):
        read_mammogram(tmp_path / "image")


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("kind", ["known length", "unknown length", "nested", "no items"])
def test_a_header_without_end(tmp_path: Path, syntax: uid.UID, kind: str) -> None:
    """A megabyte of empty items, each of which would become a data set of its own, or of empty elements."""
    items = ITEM + b"\0\0\0\0"
    sequence = {
        "known length": _sequence(items * 120_000),
        "unknown length": _sequence(items * 120_000, known_length=False),
        "nested": _sequence(ITEM + b"\xff" * 4 + _sequence(items * 120_000) + ITEM_END, known_length=False),
        "no items": b"\x08\x00\x40\x11LO\0\0" * 120_000,
    }[kind]
    write(tmp_path / "image", picture(), syntax=syntax)
    data = (tmp_path / "image").read_bytes()
    begin = 144 + int.from_bytes(data[140:144], "little")  # after the preamble and the file meta information
    body = data[begin:]
    if syntax.is_deflated:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        sequence = deflater.compress(sequence + zlib.decompress(body, -zlib.MAX_WBITS)) + deflater.flush()
        body = b""
    (tmp_path / "image").write_bytes(data[:begin] + sequence + body)
    with pytest.raises(RefusedError, match="too large"):
        read_header(tmp_path / "image")


def _sequence(items: bytes, *, known_length: bool = True) -> bytes:
    """ReferencedImageSequence (0008,1140) with these items, explicit little endian."""
    length = len(items).to_bytes(4, "little") if known_length else b"\xff" * 4
    return b"\x08\x00\x40\x11SQ\0\0" + length + items + (b"" if known_length else SEQUENCE_END)


def test_random_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    for start in (b"", b"\0" * 128 + b"DICM", b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100", b"P5\n", b"\x89PNG\r\n\x1a\n"):
        for _ in range(10):
            (tmp_path / "image").write_bytes(start + rng.bytes(2000))
            with pytest.raises(RefusedError):
                read_mammogram(tmp_path / "image", spacing_mm=0.1)

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.mammogram import Flag, Intent, Side, View
from maseg_nnunet.readers import read_header, read_mammogram
from maseg_nnunet.voi import FULL_RANGE, Function
from tests.readers.dicom_factory import picture

GRAY8 = picture(bits=8).astype(np.uint8)
GRAY16 = picture(bits=16)


def pgm(pixels: np.ndarray, largest: int, header: str = "P5\n{columns} {rows}\n{largest}\n") -> bytes:
    rows, columns = pixels.shape
    head = header.format(rows=rows, columns=columns, largest=largest).encode()
    return head + (pixels.astype(np.uint8) if largest < 256 else pixels.astype(">u2")).tobytes()


def png(pixels: np.ndarray) -> bytes:
    return encode(".png", pixels)


def encode(suffix: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def palette_png(pixels: np.ndarray) -> bytes:
    """A PNG whose palette has the grays in reverse, so that an index is not a gray."""
    rows, columns = pixels.shape
    header = struct.pack(">LLBBBBB", columns, rows, 8, 3, 0, 0, 0)
    grays = b"".join(bytes([255 - index] * 3) for index in range(256))
    lines = b"".join(b"\0" + line.tobytes() for line in 255 - pixels)
    chunks = chunk(b"IHDR", header) + chunk(b"PLTE", grays) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND")
    return b"\x89PNG\r\n\x1a\n" + chunks


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def white_is_zero(pixels: np.ndarray) -> bytes:
    """An uncompressed TIFF of which 0 is white."""
    content = bytearray(cv2.imencode(".tif", np.invert(pixels), [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes())
    at = content.index(struct.pack("<HHLH", 262, 3, 1, 1))
    struct.pack_into("<H", content, at + 8, 0)
    return bytes(content)


def refusal(path: Path, content: bytes, **options: object) -> Reason:
    path.write_bytes(content)
    with pytest.raises(RefusedError) as caught:
        read_mammogram(path, **{"spacing_mm": 0.2, **options})
    return caught.value.reason


@pytest.mark.parametrize(
    ("content", "pixels"),
    [
        (pgm(GRAY8, 255), GRAY8),
        (pgm(GRAY16, 65535), GRAY16),
        (pgm(picture(), 4095), picture()),
        (pgm(GRAY8, 255, "P5 {columns}\t{rows}\r{largest}\n"), GRAY8),
        (pgm(GRAY8, 255, "P5\n# a comment\n#another\n{columns} # width\n{rows}\n#\n{largest}\n"), GRAY8),
        (pgm(GRAY8, 255) + b"more", GRAY8),
        (png(GRAY8), GRAY8),
        (png(GRAY16), GRAY16),
        (png(np.dstack([GRAY8] * 3)), GRAY8),
        (png(np.dstack([GRAY16] * 3 + [np.full_like(GRAY16, 65535)])), GRAY16),
        (palette_png(GRAY8), GRAY8),
        (encode(".tif", GRAY8), GRAY8),
        (encode(".tif", GRAY16), GRAY16),
        (encode(".tif", np.dstack([GRAY8] * 3)), GRAY8),
        (white_is_zero(GRAY8), GRAY8),
        (white_is_zero(GRAY16), GRAY16),
    ],
)
@pytest.mark.parametrize("name", ["film.pgm", "film.png", "film", "film.dcm"])
def test_gray_images(tmp_path: Path, content: bytes, pixels: np.ndarray, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    read = read_mammogram(tmp_path / name, spacing_mm=0.2)
    np.testing.assert_array_equal(read.pixels, pixels)
    assert read.pixels.dtype == pixels.dtype
    assert (read.intent, read.spacing, read.spacing_source) == (Intent.FILM, (0.2, 0.2), "user")
    assert read.flags == (Flag.SPACING_GIVEN,)
    (lut,) = read.luts.luts
    assert (lut.explanation, lut.function) == (FULL_RANGE, Function.LINEAR_EXACT)
    assert (lut.center - lut.width / 2, lut.center + lut.width / 2) == (pixels.min(), pixels.max())
    assert not read.luts.inverted


@pytest.mark.parametrize("pixels", [GRAY8, np.dstack([GRAY8] * 3)])
def test_a_jpeg_is_read(tmp_path: Path, pixels: np.ndarray) -> None:
    (tmp_path / "film").write_bytes(encode(".jpg", pixels))
    read = read_mammogram(tmp_path / "film", spacing_mm=0.2)
    assert read.shape == GRAY8.shape
    assert np.abs(read.pixels.astype(int) - GRAY8).max() < 20


def test_what_is_refused_says_which_formats_are_read(tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(b"GIF89a" + bytes(200))
    with pytest.raises(RefusedError, match="not DICOM, PNG, TIFF, PGM or JPEG"):
        read_mammogram(tmp_path / "film")


def test_the_same_picture_scales_alike_from_either_kind_of_file(tmp_path: Path) -> None:
    # The published code scales one kind by 255 and the other by the image's own range.
    for name, content in (("a.pgm", pgm(GRAY8, 255)), ("b.png", png(GRAY8)), ("c.png", png(GRAY8.astype(np.uint16)))):
        (tmp_path / name).write_bytes(content)
    shown = [read_mammogram(path, spacing_mm=0.2).displayed() for path in sorted(tmp_path.iterdir())]
    np.testing.assert_array_equal(shown[0], shown[1])
    np.testing.assert_array_equal(shown[0], shown[2])


def test_view_and_side_come_from_the_name(tmp_path: Path) -> None:
    path = tmp_path / "20586908_6c613a14b80a8591_MG_R_CC_ANON.png"
    path.write_bytes(png(GRAY8))
    read = read_mammogram(path, spacing_mm=(0.2, 0.3))
    assert (read.view, read.side, read.spacing) == (View.CC, Side.RIGHT, (0.2, 0.3))
    assert read.flags == (Flag.VIEW_FROM_PATH, Flag.SIDE_FROM_PATH, Flag.SPACING_GIVEN)


def test_spacing_is_needed(tmp_path: Path) -> None:
    assert refusal(tmp_path / "film", png(GRAY8), spacing_mm=None) is Reason.NO_SPACING
    assert refusal(tmp_path / "film", png(GRAY8), spacing_mm=2) is Reason.BAD_SPACING


def test_a_film_has_no_header(tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(png(GRAY8))
    with pytest.raises(RefusedError) as caught:
        read_header(tmp_path / "film")
    assert caught.value.reason is Reason.NOT_DICOM


def test_one_value_is_flagged(tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(png(GRAY8 * 0 + 7))
    read = read_mammogram(tmp_path / "film", spacing_mm=0.2)
    assert Flag.CONSTANT in read.flags
    assert read.luts.luts[0].width == 1
    assert np.isfinite(read.displayed()).all()


def huge_png() -> bytes:
    header = struct.pack(">LLBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 10_000)) + chunk(b"IEND")
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (png(np.dstack([GRAY8, GRAY8, GRAY8 + 1])), Reason.COLOUR),
        (encode(".tif", np.dstack([GRAY8, GRAY8, GRAY8 + 1])), Reason.COLOUR),
        (encode(".tif", GRAY16)[:-150], Reason.TRUNCATED),
        (encode(".tif", GRAY16)[:6], Reason.TRUNCATED),
        (encode(".tif", GRAY16.astype(np.float32)), Reason.UNREADABLE),
        (cv2.imencodemulti(".tif", [GRAY8, GRAY8])[1].tobytes(), Reason.MULTI_FRAME),
        (encode(".jpg", np.dstack([GRAY8, GRAY8, 255 - GRAY8])), Reason.COLOUR),
        (encode(".jpg", GRAY8)[:-20], Reason.TRUNCATED),
        (b"GIF89a" + bytes(200), Reason.NOT_DICOM),
        (png(np.dstack([GRAY8] * 4)), Reason.COLOUR),
        (png(GRAY8)[:-20], Reason.TRUNCATED),
        (png(GRAY8)[:200], Reason.TRUNCATED),
        (png(GRAY8)[:20], Reason.UNREADABLE),
        (png(GRAY8)[:200] + png(GRAY8)[-12:], Reason.UNREADABLE),
        (huge_png(), Reason.TOO_LARGE),
        (pgm(GRAY8, 255)[:-1], Reason.TRUNCATED),
        (pgm(GRAY16, 65535)[:-1], Reason.TRUNCATED),
        (b"P5\n99999 99999\n255\n" + bytes(100), Reason.TOO_LARGE),
        (b"P5\n0 10\n255\n" + bytes(100), Reason.UNREADABLE),
        (b"P5\n10 10\n0\n" + bytes(100), Reason.UNREADABLE),
        (b"P5\n10 10\n65536\n" + bytes(200), Reason.UNREADABLE),
        (b"P5\n10 10\n100\n" + b"\xff" * 100, Reason.UNREADABLE),
        (b"P5\n10 ten\n255\n" + bytes(100), Reason.UNREADABLE),
        (b"P5\n9999999999999 1\n255\n", Reason.UNREADABLE),
        (b"P5\n# " + b"x" * 100, Reason.UNREADABLE),
        (b"P5" + b" " * 5000 + b"2 2 255\n" + bytes(4), Reason.UNREADABLE),
        (b"P2\n2 2\n255\n1 2 3 4\n", Reason.NOT_DICOM),
        (b"P6\n2 2\n255\n" + bytes(12), Reason.NOT_DICOM),
    ],
)
def test_refusals(tmp_path: Path, content: bytes, reason: Reason) -> None:
    assert refusal(tmp_path / "film", content) is reason


def test_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for content in (png(GRAY16), pgm(GRAY16, 65535), encode(".tif", GRAY16), encode(".jpg", GRAY8)):
        for _ in range(60):
            broken = bytearray(content)
            for position in rng.integers(0, len(content), 3):
                broken[position] = rng.integers(0, 256)
            (tmp_path / "film").write_bytes(broken)
            try:
                read = read_mammogram(tmp_path / "film", spacing_mm=0.2)
            except RefusedError:
                continue
            assert read.pixels.ndim == 2


def test_the_limit_of_megapixels(tmp_path: Path) -> None:
    for content in (png(GRAY8), pgm(GRAY8, 255)):
        assert refusal(tmp_path / "film", content, max_megapixels=0.0019) is Reason.TOO_LARGE
        assert read_mammogram(tmp_path / "film", spacing_mm=0.2, max_megapixels=0.00192).shape == (48, 40)


def test_real_films(real_data: Path) -> None:
    for path in (real_data / "mini_mias" / "mdb001.pgm", next((real_data / "inbreast" / "images").glob("*.png"))):
        read = read_mammogram(path, spacing_mm=0.2)
        np.testing.assert_array_equal(read.pixels, cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        assert read.intent is Intent.FILM

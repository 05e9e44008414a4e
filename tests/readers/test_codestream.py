import struct

import imagecodecs
import numpy as np
import pytest

from maseg_nnunet.readers import decoders
from maseg_nnunet.readers.codestream import (
    Codestream,
    CodestreamError,
    IncompleteError,
    check_jpeg2000_end,
    check_jpeg_end,
    parse_jpeg,
    parse_jpeg2000,
)
from tests.readers.dicom_factory import picture

PIXELS = picture()
JPEG = imagecodecs.jpeg8_encode(PIXELS, lossless=True, predictor=1, bitspersample=12)
JPEG_LS = imagecodecs.jpegls_encode(PIXELS)
J2K = imagecodecs.jpeg2k_encode(PIXELS, codecformat="j2k", reversible=True, bitspersample=12)
HTJ2K = imagecodecs.htj2k_encode(PIXELS, reversible=True)


def test_sizes_and_bits_are_found() -> None:
    assert parse_jpeg(JPEG) == Codestream(48, 40, 1, 12)
    assert parse_jpeg2000(J2K) == Codestream(48, 40, 1, 12)
    assert parse_jpeg2000(HTJ2K) == Codestream(48, 40, 1, 16)
    found = parse_jpeg(JPEG_LS)
    assert (found.rows, found.columns, found.components) == (48, 40, 1)
    assert parse_jpeg(imagecodecs.jpeg8_encode(np.zeros((8, 9, 3), np.uint8))).components == 3


def test_a_thumbnail_in_the_header_is_no_end() -> None:
    segment = b"\xff\xe1" + struct.pack(">H", 2 + 6) + b"\xff\xd8\xff\xd9\xff\xd9"
    check_jpeg_end(JPEG[:2] + segment + JPEG[2:])
    with pytest.raises(IncompleteError):
        check_jpeg_end(JPEG[:2] + segment + JPEG[2:-2])


def test_an_end_in_the_middle_is_noticed() -> None:
    middle = len(JPEG) // 2
    with pytest.raises(CodestreamError, match="before the end of its data"):
        check_jpeg_end(JPEG[:middle] + b"\xff\xd9" + JPEG[middle + 2 :])


@pytest.mark.parametrize("padding", [b"", b"\0", b"\0\0\0"])
def test_padding_may_follow_the_end(padding: bytes) -> None:
    check_jpeg_end(JPEG + padding)
    check_jpeg2000_end(J2K + padding)


@pytest.mark.parametrize("stop", range(0, 60, 3))
def test_a_header_that_is_cut_off_is_an_error(stop: int) -> None:
    for parse, frame in ((parse_jpeg, JPEG), (parse_jpeg, JPEG_LS), (parse_jpeg2000, J2K)):
        if stop < 40:
            with pytest.raises(CodestreamError):
                parse(frame[:stop])


@pytest.mark.parametrize(
    ("offset", "layout", "value", "words"),
    [
        (8, ">L", 0, "impossible size"),
        (24, ">L", 0, "impossible size"),
        (24, ">LL", (1, 1), "tiles"),
        (43, ">B", 2, "subsampled"),
    ],
)
def test_a_jpeg_2000_header_that_no_mammogram_has(offset: int, layout: str, value: object, words: str) -> None:
    frame = bytearray(imagecodecs.jpeg2k_encode(picture(300, 300), codecformat="j2k", reversible=True))
    struct.pack_into(layout, frame, offset, *(value if isinstance(value, tuple) else (value,)))
    with pytest.raises(CodestreamError, match=words):
        parse_jpeg2000(bytes(frame))


def test_a_jpeg_ls_size_outside_the_frame_header_is_an_error() -> None:
    oversize = b"\xff\xf8" + struct.pack(">HBBHH", 8, 4, 2, 60000, 60000)[:8]
    with pytest.raises(CodestreamError, match="outside its frame header"):
        parse_jpeg(JPEG_LS[:2] + oversize + JPEG_LS[2:])


@pytest.mark.parametrize(
    "header", [(2, 64, 64), (2, 64, 10**6), (2, 0, 64), (1, 64, 0), (3, 64, 70), (2, 80, 64), (2**32 - 1, 64, 65)]
)
def test_an_rle_header_with_impossible_segments_is_an_error(header: tuple[int, int, int]) -> None:
    frame = struct.pack("<16L", *header, *[0] * 13) + b"\0" * 100
    with pytest.raises(CodestreamError):
        decoders.inspect(frame, "1.2.840.10008.1.2.5", 4, 4, 16)

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.uid import ExplicitVRLittleEndian

from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.mammogram import Flag
from maseg_nnunet.readers import read_header, read_mammogram
from maseg_nnunet.readers.pixels import read_layout, read_stored
from maseg_nnunet.voi import FULL_RANGE
from tests.readers.dicom_factory import LOSSLESS, make, picture, save, table, write


def refusal(path: Path, **options: Any) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        read_mammogram(path, **options)
    return caught.value


@st.composite
def images(draw: st.DrawFn) -> dict[str, Any]:
    """A tiny image: words in memory and the header that describes them."""
    stored = draw(st.integers(2, 16))
    first = draw(st.integers(0, 16 - stored))
    words = draw(st.lists(st.integers(0, 0xFFFF), min_size=12, max_size=12))
    padding = draw(st.none() | st.integers(0, (1 << stored) - 1))
    return {
        "words": words,
        "stored": stored,
        "first": first,
        "signed": draw(st.booleans()),
        "inverted": draw(st.booleans()),
        "padding": padding,
        "limit": draw(st.none() | st.integers(0, (1 << stored) - 1)) if padding is not None else None,
        "slope": draw(st.sampled_from([1, 1, -1, 2, 0.5])),
        "intercept": draw(st.sampled_from([0, 0, -1024, 7, 0.25])),
    }


def reference(image: dict[str, Any]) -> tuple[list[float], list[bool]]:
    """Compute pixel by pixel, in Python's integers: values after the modality LUT, and which are padding."""

    def signed(value: int) -> int:
        return value - (1 << image["stored"]) if image["signed"] and value >> (image["stored"] - 1) else value

    def output(value: int) -> float:
        return value * image["slope"] + image["intercept"]

    values = [signed(word >> image["first"] & (1 << image["stored"]) - 1) for word in image["words"]]
    extremes = [output(signed(value)) for value in range(1 << image["stored"])]
    dark = max(extremes) if image["inverted"] else min(extremes)
    padding = [False] * len(values)
    if image["padding"] is not None:
        ends = signed(image["padding"]), signed(image["padding"] if image["limit"] is None else image["limit"])
        padding = [min(ends) <= value <= max(ends) for value in values]
    return [dark if pad else output(value) for value, pad in zip(values, padding, strict=True)], padding


@settings(max_examples=200, deadline=None)
@given(image=images())
def test_bits_sign_padding_and_rescale_against_a_slow_reference(image: dict[str, Any]) -> None:
    def word(value: int) -> int:  # as a writer of signed values writes it
        return value - (1 << image["stored"]) if image["signed"] and value >> (image["stored"] - 1) else value

    dataset = make(
        np.array(image["words"], np.uint16).reshape(3, 4).view(np.int16 if image["signed"] else np.uint16),
        bits=image["stored"],
        HighBit=image["first"] + image["stored"] - 1,
        PhotometricInterpretation="MONOCHROME1" if image["inverted"] else "MONOCHROME2",
        RescaleSlope=str(image["slope"]),
        RescaleIntercept=str(image["intercept"]),
    )
    vr = "SS" if image["signed"] else "US"
    for keyword, tag in (("padding", 0x00280120), ("limit", 0x00280121)):
        if image[keyword] is not None:
            dataset.add_new(tag, vr, word(image[keyword]))
    stored = read_stored(dataset, ExplicitVRLittleEndian, read_layout(dataset, 1))
    expected, padding = reference(image)
    np.testing.assert_allclose(stored.pixels.ravel(), expected, rtol=1e-6)
    assert stored.shifted == (image["first"] > 0)
    shown = [value for value, pad in zip(expected, padding, strict=True) if not pad]
    if shown:
        assert (stored.minimum, stored.maximum) == (min(shown), max(shown))
    else:
        assert stored.minimum == stored.maximum
    assert not stored.pixels.flags.writeable


@pytest.mark.parametrize("syntax", [s for s in LOSSLESS if s not in (uid.JPEGLossless, uid.JPEGLosslessSV1)])
def test_high_bit_above_the_stored_bits_is_shifted_and_said(tmp_path: Path, syntax: uid.UID) -> None:
    path = write(tmp_path / "image", picture() << 4, bits=16, syntax=syntax, BitsStored=12, HighBit=15)
    read = read_mammogram(path)
    np.testing.assert_array_equal(read.pixels, picture())
    assert Flag.HIGH_BIT_SHIFTED in read.flags


def test_a_codestream_of_as_many_bits_as_stored_is_not_shifted(tmp_path: Path) -> None:
    path = write(tmp_path / "image", picture(), bits=12, syntax=uid.JPEGLosslessSV1, HighBit=15)
    read = read_mammogram(path)
    np.testing.assert_array_equal(read.pixels, picture())
    assert Flag.HIGH_BIT_SHIFTED not in read.flags


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless])
def test_an_overlay_in_the_high_bits_is_taken_out(tmp_path: Path, syntax: uid.UID) -> None:
    pixels = picture()
    pixels[10:20] |= 0x8000
    read = read_mammogram(write(tmp_path / "image", pixels, bits=16, syntax=syntax, BitsStored=12, HighBit=11))
    np.testing.assert_array_equal(read.pixels, picture())


def test_padding_goes_to_the_dark_end_and_out_of_the_full_range(tmp_path: Path) -> None:
    pixels = picture()
    pixels[:8] = 4000
    for photometric, dark in (("MONOCHROME2", 0), ("MONOCHROME1", 4095)):
        read = read_mammogram(
            write(
                tmp_path / photometric,
                pixels,
                PhotometricInterpretation=photometric,
                PixelPaddingValue=3990,
                PixelPaddingRangeLimit=4010,
                WindowCenter=None,
                WindowWidth=None,
            )
        )
        assert (read.pixels[:8] == dark).all()
        np.testing.assert_array_equal(read.pixels[8:], pixels[8:])
        assert (read.displayed()[:8] == 0).all()
        (lut,) = read.luts.luts
        assert lut.explanation == FULL_RANGE
        assert lut.center - lut.width / 2 == pixels[8:].min()
        assert lut.center + lut.width / 2 == pixels[8:].max()


def test_padding_is_compared_before_the_modality_lut_and_black_after_it(tmp_path: Path) -> None:
    pixels = picture()
    pixels[:8] = 5
    path = write(
        tmp_path / "image", pixels, PixelPaddingValue=5, RescaleSlope="-1", RescaleIntercept="4095", WindowCenter="2000"
    )
    read = read_mammogram(path)
    assert (read.pixels[:8] == 0).all()
    np.testing.assert_array_equal(read.pixels[8:], 4095 - pixels[8:].astype(int))


def test_padding_of_a_signed_image_written_as_an_unsigned_word(tmp_path: Path) -> None:
    pixels = picture().astype(np.int16) - 2048
    pixels[:8] = -2000
    for value in (0xFFFF - 1999, 4096 - 2000):  # -2000 in 16 and in 12 bits
        dataset = make(pixels)
        dataset.add_new(0x00280120, "US", value)
        read = read_mammogram(save(dataset, tmp_path / "image"))
        assert (read.pixels[:8] == -2048).all()
        np.testing.assert_array_equal(read.pixels[8:], pixels[8:])


def test_padding_in_implicit_vr_where_the_word_has_no_sign(tmp_path: Path) -> None:
    pixels = picture()
    pixels[:8] = 4000
    path = write(tmp_path / "image", pixels, syntax=uid.ImplicitVRLittleEndian, PixelPaddingValue=4000)
    assert (read_mammogram(path).pixels[:8] == 0).all()


def test_an_image_of_padding_alone_is_constant(tmp_path: Path) -> None:
    read = read_mammogram(write(tmp_path / "image", picture(), PixelPaddingValue=0, PixelPaddingRangeLimit=4095))
    assert Flag.CONSTANT in read.flags


@pytest.mark.parametrize("windows", [True, False])
def test_a_constant_image_is_read_and_flagged(tmp_path: Path, windows: bool) -> None:
    gone = {} if windows else {"WindowCenter": None, "WindowWidth": None}
    read = read_mammogram(write(tmp_path / "image", np.full((8, 8), 700, np.uint16), **gone))
    assert Flag.CONSTANT in read.flags
    assert windows or read.luts.luts[0].width == 1
    assert np.isfinite(read.displayed()).all()


def test_rescale_keeps_integers_where_it_can(tmp_path: Path) -> None:
    read = read_mammogram(write(tmp_path / "image", RescaleSlope="1", RescaleIntercept="-1024"))
    assert np.issubdtype(read.pixels.dtype, np.integer)
    np.testing.assert_array_equal(read.pixels, picture().astype(int) - 1024)
    read = read_mammogram(write(tmp_path / "image", RescaleSlope="0.25", RescaleIntercept="0"))
    assert read.pixels.dtype == np.float32
    np.testing.assert_array_equal(read.pixels, picture() / 4)


def test_a_modality_lut_is_indexed_by_value(tmp_path: Path) -> None:
    values = np.arange(4096)[::-1] * 3 % 65536
    read = read_mammogram(write(tmp_path / "image", ModalityLUTSequence=[table(values, first=100, bits=16)]))
    np.testing.assert_array_equal(read.pixels, values[np.clip(picture().astype(int) - 100, 0, 4095)])
    expected = read.pixels.min(), read.pixels.max()
    window = read_mammogram(
        write(
            tmp_path / "image",
            ModalityLUTSequence=[table(values, first=100, bits=16)],
            WindowCenter=None,
            WindowWidth=None,
        )
    ).luts.luts[0]
    assert (window.center - window.width / 2, window.center + window.width / 2) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"RescaleSlope": "0", "RescaleIntercept": "0"},
        {"RescaleSlope": "1e30", "RescaleIntercept": "0"},
        {"RescaleSlope": "1", "RescaleIntercept": "1e300"},
        {"ModalityLUTSequence": [table(np.arange(100)[:50])]},
    ],
)
def test_an_impossible_modality_lut_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    if "ModalityLUTSequence" in change:
        change["ModalityLUTSequence"][0].LUTDescriptor = [100, 0, 12]
    assert refusal(write(tmp_path / "image", **change)).reason is Reason.NO_LUT


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}, Reason.COLOUR),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, Reason.COLOUR),
        ({"SamplesPerPixel": 3}, Reason.COLOUR),
        ({"PhotometricInterpretation": None}, Reason.UNREADABLE),
        ({"Rows": None}, Reason.UNREADABLE),
        ({"Columns": 0}, Reason.UNREADABLE),
        ({"BitsAllocated": 12}, Reason.UNREADABLE),
        ({"BitsStored": 17}, Reason.UNREADABLE),
        ({"BitsStored": 0}, Reason.UNREADABLE),
        ({"HighBit": 10}, Reason.UNREADABLE),
        ({"HighBit": 16}, Reason.UNREADABLE),
        ({"PixelRepresentation": 2}, Reason.UNREADABLE),
        ({"PixelRepresentation": None}, Reason.UNREADABLE),
        ({"Rows": 60000, "Columns": 60000}, Reason.TOO_LARGE),
        ({"Rows": 49}, Reason.TRUNCATED),
        ({"Rows": 47}, Reason.UNREADABLE),
        ({"Columns": 39}, Reason.UNREADABLE),
        ({"PixelData": None}, Reason.NO_PIXELS),
        ({"PixelData": b""}, Reason.NO_PIXELS),
    ],
    ids=str,
)
def test_impossible_pixels_are_refused(tmp_path: Path, change: dict[str, Any], reason: Reason) -> None:
    assert refusal(write(tmp_path / "image", **change)).reason is reason


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    dataset = make(PixelData=None)
    dataset.FloatPixelData = np.zeros(48 * 40, "<f4").tobytes()
    assert refusal(save(dataset, tmp_path / "image")).reason is Reason.NO_PIXELS


def test_a_byte_of_padding_and_a_little_more_are_no_reason_to_refuse(tmp_path: Path) -> None:
    for extra in (b"", b"\0\0", b"\0" * 40):
        path = write(tmp_path / "image", PixelData=picture().tobytes() + extra)
        np.testing.assert_array_equal(read_mammogram(path).pixels, picture())


def test_high_bit_missing_is_the_highest_stored_bit(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_mammogram(write(tmp_path / "image", HighBit=None)).pixels, picture())


def test_compressed_pixels_without_transfer_syntax_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "image", syntax=uid.JPEGLosslessSV1, preamble=False)
    assert refusal(path).reason is Reason.NO_DECODER


def test_a_limit_of_megapixels(tmp_path: Path) -> None:
    path = write(tmp_path / "image")
    assert read_mammogram(path, max_megapixels=48 * 40 / 1e6).shape == (48, 40)
    for read in (read_mammogram, read_header):
        with pytest.raises(RefusedError) as caught:
            read(path, max_megapixels=48 * 39 / 1e6)
        assert caught.value.reason is Reason.TOO_LARGE


def test_a_file_that_inflates_without_end_is_refused_before_it_does(tmp_path: Path) -> None:
    path = write(tmp_path / "image", syntax=uid.DeflatedExplicitVRLittleEndian)
    data = path.read_bytes()
    begin = 132 + 12 + struct.unpack_from("<L", data, 140)[0]
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = deflater.compress(b"\0" * (200 << 20)) + deflater.flush()
    path.write_bytes(data[:begin] + bomb)
    assert refusal(path, max_megapixels=1).reason is Reason.TOO_LARGE
    # pydicom ignores the length of the file meta information, so a false length must not hide the transfer syntax.
    path.write_bytes(data[:140] + struct.pack("<L", 4) + data[144:begin] + bomb)
    assert refusal(path, max_megapixels=1).reason is Reason.UNREADABLE
    # Nor may an element before the transfer syntax that is longer than the part that is checked.
    long = b"\x02\x00\x02\x01OB\0\0" + struct.pack("<L", 8192) + bytes(8192)
    path.write_bytes(data[:144] + long + data[144:begin] + bomb)
    assert refusal(path, max_megapixels=1).reason is Reason.UNREADABLE


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_a_deflated_file_that_is_cut_off_is_refused(tmp_path: Path, keep: float) -> None:
    path = write(tmp_path / "image", syntax=uid.DeflatedExplicitVRLittleEndian)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    assert refusal(path).reason is Reason.TRUNCATED


@pytest.mark.parametrize("syntax", [s for s in LOSSLESS if s != uid.DeflatedExplicitVRLittleEndian])
def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path: Path, syntax: uid.UID) -> None:
    path = write(tmp_path / "image", syntax=syntax)
    data = path.read_bytes()
    reasons = set()
    for stop in range(0, len(data) - 9, max(1, len(data) // 60)):
        path.write_bytes(data[:stop])
        reasons.add(refusal(path).reason)
    assert Reason.TRUNCATED in reasons


def test_a_file_beyond_all_limits_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "image")
    with path.open("r+b") as file:
        file.truncate(1 << 36)  # a sparse file, which needs no space on disk
    assert refusal(path).reason is Reason.TOO_LARGE

import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import pixel_array

from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.mammogram import Flag
from maseg_nnunet.readers import decoders, read_mammogram
from tests.readers.dicom_factory import LOSSLESS, LOSSY, encode_frame, make, picture, save, write

SAMPLES = {
    "12 bit": (picture(), 12),
    "8 bit": (picture(bits=8).astype(np.uint8), 8),
    "16 bit": (picture(bits=16), 16),
    "12 bit signed": (picture().astype(np.int16) - 2048, 12),
    "odd size": (picture(47, 39), 12),
    "odd bytes": (picture(47, 39, bits=8).astype(np.uint8), 8),
}
COMPRESSED = [syntax for syntax in (*LOSSLESS, *LOSSY) if syntax in decoders.SYNTAXES]


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
def test_a_lossless_syntax_gives_the_pixels_back(tmp_path: Path, syntax: uid.UID, name: str) -> None:
    pixels, bits = SAMPLES[name]
    read = read_mammogram(write(tmp_path / "image", pixels, bits=bits, syntax=syntax)).pixels
    assert read.dtype == pixels.dtype
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize(
    ("syntax", "name", "tolerance"),
    [
        (uid.JPEGBaseline8Bit, "8 bit", 4),
        (uid.JPEGExtended12Bit, "8 bit", 4),
        (uid.JPEGExtended12Bit, "12 bit", 8),
        (uid.JPEGLSNearLossless, "12 bit", 2),
        (uid.JPEG2000, "12 bit", 20),
        (uid.JPEG2000, "12 bit signed", 20),
        (uid.HTJ2K, "12 bit", 80),
    ],
)
def test_a_lossy_syntax_comes_close(tmp_path: Path, syntax: uid.UID, name: str, tolerance: int) -> None:
    pixels, bits = SAMPLES[name]
    read = read_mammogram(write(tmp_path / "image", pixels, bits=bits, syntax=syntax)).pixels
    assert 0 < np.abs(read.astype(int) - pixels).max() <= tolerance


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_every_predictor_of_lossless_jpeg(tmp_path: Path, predictor: int, bits: int) -> None:
    pixels = picture(bits=bits) if bits > 8 else picture(bits=8).astype(np.uint8)
    frame = imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=predictor, bitspersample=bits)
    dataset = make(pixels, bits=bits, syntax=uid.JPEGLossless)
    dataset.PixelData = encapsulate([frame])
    np.testing.assert_array_equal(read_mammogram(save(dataset, tmp_path / "image")).pixels, pixels)


def test_two_other_decoders_of_lossless_jpeg_agree_on_real_files(real_dicom: Path) -> None:
    compared = 0
    for path in sorted(real_dicom.iterdir()):
        dataset = pydicom.dcmread(path)
        if dataset.file_meta.TransferSyntaxUID == uid.JPEGLosslessSV1:
            frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
            decoded = decode(dataset)
            np.testing.assert_array_equal(decoded, imagecodecs.ljpeg_decode(frame))
            np.testing.assert_array_equal(decoded, imagecodecs.jpegsof3_decode(frame))
            compared += 1
    assert compared == 5


# CRC-32 of the pixels, as little-endian words, decoded by pydicom 3.0 with python-gdcm 3.2.
REAL_SUMS = {
    "GE_RCC.dcm": 3166180047,
    "GE_SIGMOID_3LUT_RMLO.dcm": 2558784417,
    "Hologic_Selenia_LCC.dcm": 1450845754,
    "Hologic_scout_MONOCHROME1.dcm": 1562191056,
    "MG1_J2KI.dcm": 489645242,
    "MG_Explicit_Little.dcm": 895931653,
    "Siemens_overlays_LCC.dcm": 2543961761,
}


@pytest.mark.parametrize("name", REAL_SUMS)
def test_real_files_decode_as_with_gdcm(real_dicom: Path, name: str) -> None:
    decoded = decode(pydicom.dcmread(real_dicom / name))
    assert zlib.crc32(np.ascontiguousarray(decoded, dtype="<u2").tobytes()) == REAL_SUMS[name]


def decode(dataset: pydicom.Dataset) -> np.ndarray:
    return decoders.decode(
        dataset.PixelData,
        dataset.file_meta.TransferSyntaxUID,
        "OB",
        (dataset.Rows, dataset.Columns),
        bits_allocated=dataset.BitsAllocated,
        bits_stored=dataset.BitsStored,
    )


def test_openjph_agrees_on_htj2k() -> None:
    pixels = picture(300, 211)
    for syntax, tolerance in ((uid.HTJ2KLossless, 0), (uid.HTJ2K, 1)):
        dataset = make(pixels, syntax=syntax)
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        difference = decode(dataset).astype(int) - imagecodecs.htj2k_decode(frame)
        assert np.abs(difference).max() <= tolerance


def test_a_frame_in_several_fragments(tmp_path: Path) -> None:
    dataset = make(syntax=uid.JPEGLosslessSV1)
    dataset.PixelData = encapsulate([encode_frame(picture(), uid.JPEGLosslessSV1, 12)], fragments_per_frame=4)
    np.testing.assert_array_equal(read_mammogram(save(dataset, tmp_path / "image")).pixels, picture())


def test_a_codestream_in_a_jp2_box(tmp_path: Path) -> None:
    dataset = make(syntax=uid.JPEG2000Lossless)
    frame = imagecodecs.jpeg2k_encode(picture(), codecformat="jp2", reversible=True, bitspersample=12)
    dataset.PixelData = encapsulate([frame])
    np.testing.assert_array_equal(read_mammogram(save(dataset, tmp_path / "image")).pixels, picture())


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda syntax: syntax.keyword)
def test_pydicom_takes_the_plug_in_by_its_name(tmp_path: Path, syntax: uid.UID) -> None:
    pixels, bits = SAMPLES["8 bit"]
    path = write(tmp_path / "image", pixels, bits=bits, syntax=syntax)
    decoded = pixel_array(path, decoding_plugin=decoders.PLUGIN)
    assert decoded.shape == pixels.shape
    assert np.abs(decoded.astype(int) - pixels).max() <= 4


def test_every_compressed_syntax_stands_in_the_table_of_the_docstring() -> None:
    for syntax in decoders.SYNTAXES:
        assert f" {syntax.removeprefix('1.2.840.10008.1.2')} " in decoders.__doc__
        assert decoders.is_available(syntax)
    assert set(COMPRESSED) == set(decoders.SYNTAXES)
    assert not decoders.is_available(uid.MPEG2MPML)


@pytest.mark.parametrize(
    ("syntax", "words"), [(uid.MPEG2MPML, "MPEG2"), ("1.2.840.10008.1.2.4.95", "JPIP"), ("1.2.3.4", "not list")]
)
def test_no_decoder_names_the_syntax_and_a_way_out(tmp_path: Path, syntax: str, words: str) -> None:
    path = write(tmp_path / "image", syntax=uid.HTJ2KLossless)
    old = uid.HTJ2KLossless.encode()
    path.write_bytes(path.read_bytes().replace(old, syntax.encode().ljust(len(old), b"\0"), 1))
    with pytest.raises(RefusedError, match=words) as caught:
        read_mammogram(path)
    assert caught.value.reason is Reason.NO_DECODER
    assert "python-gdcm" in caught.value.detail


def test_a_codec_that_the_build_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "image", syntax=uid.JPEGLSLossless)
    monkeypatch.setattr(decoders, "is_available", lambda syntax: False)
    with pytest.raises(RefusedError, match=r"JPEG-LS.*imagecodecs") as caught:
        read_mammogram(path)
    assert caught.value.reason is Reason.NO_DECODER


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_frame_that_is_cut_off_is_refused(tmp_path: Path, syntax: uid.UID, keep: float) -> None:
    pixels, bits = SAMPLES["8 bit"]
    frame = encode_frame(pixels, syntax, bits)
    dataset = make(pixels, bits=bits, syntax=syntax)
    # Encapsulation pads to even length, and RLE frames may be padded too, so more than two bytes must be cut off.
    dataset.PixelData = encapsulate([frame[: min(int(len(frame) * keep), len(frame) - 3)] or b"\0\0"])
    with pytest.raises(RefusedError) as caught:
        read_mammogram(save(dataset, tmp_path / "image"))
    assert caught.value.reason in (Reason.TRUNCATED, Reason.UNREADABLE)


# An RLE frame has a number of samples but no rows and columns.
@pytest.mark.parametrize(
    ("syntax", "change"),
    [
        (syntax, change)
        for syntax in COMPRESSED
        for change in ({"Rows": 24}, {"Columns": 41}, {"Rows": 40, "Columns": 48})
        if syntax != uid.RLELossless or len(change) == 1
    ],
)
def test_a_codestream_of_another_size_is_refused(tmp_path: Path, syntax: uid.UID, change: dict[str, int]) -> None:
    pixels, bits = SAMPLES["8 bit"]
    with pytest.raises(RefusedError) as caught:
        read_mammogram(write(tmp_path / "image", pixels, bits=bits, syntax=syntax, **change))
    assert caught.value.reason is Reason.UNREADABLE


def test_a_colour_codestream_is_refused(tmp_path: Path) -> None:
    dataset = make(picture(bits=8).astype(np.uint8), bits=8, syntax=uid.JPEGBaseline8Bit)
    dataset.PixelData = encapsulate([imagecodecs.jpeg8_encode(np.dstack([picture(bits=8).astype(np.uint8)] * 3))])
    with pytest.raises(RefusedError, match="more than one sample"):
        read_mammogram(save(dataset, tmp_path / "image"))


def item(data: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<L", len(data)) + data


@pytest.mark.parametrize("syntax", [uid.JPEGLosslessSV1, uid.JPEG2000Lossless, uid.RLELossless, uid.JPEGLSLossless])
@pytest.mark.parametrize("table", ["an offset for each fragment", "0xFFFFFFFF", "none", "empty"])
def test_a_wrong_basic_offset_table_is_not_used(tmp_path: Path, syntax: uid.UID, table: str) -> None:
    if (table, syntax) == ("none", uid.RLELossless):
        pytest.skip("an RLE frame has no mark that tells it from a table")
    frame = encode_frame(picture(), syntax, 12)
    parts = [frame[:400], frame[400:800], frame[800:]]
    offsets = {
        "an offset for each fragment": struct.pack("<3L", 0, 408, 816),
        "0xFFFFFFFF": b"\xff" * 4,
        "empty": b"",
    }
    first = [] if table == "none" else [item(offsets[table])]
    dataset = make(syntax=syntax)
    dataset.PixelData = b"".join(first + [item(part + b"\0" * (len(part) % 2)) for part in parts])
    np.testing.assert_array_equal(read_mammogram(save(dataset, tmp_path / "image")).pixels, picture())


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.HTJ2KLossless, uid.RLELossless, uid.JPEGLSLossless])
def test_zero_bytes_after_the_end_are_padding(tmp_path: Path, syntax: uid.UID) -> None:
    dataset = make(syntax=syntax)
    for count in (2, 30, 4000):
        dataset.PixelData = encapsulate([encode_frame(picture(), syntax, 12) + bytes(count)])
        np.testing.assert_array_equal(read_mammogram(save(dataset, tmp_path / "image")).pixels, picture())


FAMILIES = [uid.JPEGLosslessSV1, uid.JPEG2000Lossless, uid.RLELossless, uid.JPEGLSLossless]


@pytest.mark.parametrize("content", FAMILIES, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("label", FAMILIES, ids=lambda syntax: syntax.keyword)
def test_a_wrong_label_is_flagged(tmp_path: Path, label: uid.UID, content: uid.UID) -> None:
    dataset = make(syntax=label)
    dataset.PixelData = encapsulate([encode_frame(picture(), content, 12)])
    read = read_mammogram(save(dataset, tmp_path / "image"))
    np.testing.assert_array_equal(read.pixels, picture())
    assert (Flag.SYNTAX_CONTRADICTED in read.flags) == (label != content)


def test_two_codestreams_in_an_image_of_one_frame_are_refused(tmp_path: Path) -> None:
    for syntax in (uid.JPEGLosslessSV1, uid.JPEG2000Lossless):
        dataset = make(syntax=syntax)
        dataset.PixelData = encapsulate([encode_frame(picture(), syntax, 12)] * 2)
        with pytest.raises(RefusedError, match="before the end of its data"):
            read_mammogram(save(dataset, tmp_path / "image"))


def test_a_tiny_codestream_that_claims_a_huge_image_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "decode", lambda *_, **__: pytest.fail("decoded"))
    frame = bytearray(encode_frame(picture(), uid.JPEG2000Lossless, 12))
    struct.pack_into(">2L", frame, 8, 9000, 13000)
    struct.pack_into(">2L", frame, 24, 9000, 13000)
    dataset = make(syntax=uid.JPEG2000Lossless, Rows=13000, Columns=9000, ImagerPixelSpacing=["0.02", "0.02"])
    dataset.PixelData = encapsulate([bytes(frame)])
    with pytest.raises(RefusedError, match="too short for 13000 x 9000 pixels") as caught:
        read_mammogram(save(dataset, tmp_path / "image"))
    assert caught.value.reason is Reason.TRUNCATED


def test_what_contradicts_the_transfer_syntax_and_is_not_decoded_is_named(tmp_path: Path) -> None:
    dataset = make(syntax=uid.ExplicitVRLittleEndian)
    dataset.PixelData = encapsulate([encode_frame(picture(), uid.JPEG2000Lossless, 12)])
    with pytest.raises(RefusedError, match="are compressed, but the header says Explicit VR Little Endian"):
        read_mammogram(save(dataset, tmp_path / "image"))
    path = write(tmp_path / "image", syntax=uid.ExplicitVRLittleEndian)
    old = b"UI\x14\x00" + uid.ExplicitVRLittleEndian.encode().ljust(20, b"\0")
    new = b"UI\x14\x00" + uid.RLELossless.encode().ljust(20, b"\0")
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(RefusedError, match="are not compressed, but the header says RLE Lossless"):
        read_mammogram(path)

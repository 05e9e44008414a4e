"""Read files that DCMTK compressed, which has its own implementation of every codec. Skipped if it is not installed."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom import uid

from maseg_nnunet.readers import read_mammogram
from tests.readers.dicom_factory import picture, write

pytestmark = pytest.mark.skipif(shutil.which("dcmcjpeg") is None, reason="DCMTK (dcmcjpeg) is not installed")

SAMPLES = {
    "12 bit": (picture(), 12),
    "8 bit": (picture(bits=8).astype(np.uint8), 8),
    "16 bit": (picture(bits=16), 16),
    "12 bit signed": (picture().astype(np.int16) - 2048, 12),
}
LOSSLESS = {
    "RLE": (["dcmcrle"], uid.RLELossless),
    "lossless sv1": (["dcmcjpeg", "+e1"], uid.JPEGLosslessSV1),
    **{f"lossless {n}": (["dcmcjpeg", "+el", "+sv", str(n)], uid.JPEGLossless) for n in range(1, 8)},
    "JPEG-LS": (["dcmcjpls", "+el"], uid.JPEGLSLossless),
}


def convert(path: Path, *command: str) -> Path:
    target = path.with_name(f"{path.name}-converted")
    subprocess.run([*command, str(path), str(target)], check=True, capture_output=True)
    return target


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("codec", LOSSLESS)
def test_lossless_codecs(tmp_path: Path, codec: str, name: str) -> None:
    command, syntax = LOSSLESS[codec]
    pixels, bits = SAMPLES[name]
    path = convert(write(tmp_path / "image", pixels, bits=bits), *command)
    assert pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(read_mammogram(path).pixels, pixels)


def test_an_overlay_in_the_high_bits_survives_compression_and_is_taken_out(tmp_path: Path) -> None:
    pixels = picture()
    pixels[10:20] |= 0x8000
    path = write(tmp_path / "image", pixels, bits=16, BitsStored=12, HighBit=11)
    for command in (["dcmcjpeg", "+e1"], ["dcmcrle"]):
        np.testing.assert_array_equal(read_mammogram(convert(path, *command)).pixels, picture())


def decompressed(path: Path) -> npt.NDArray[np.integer]:
    """The pixels as DCMTK's own decoder returns them."""
    dataset = pydicom.dcmread(convert(path, "dcmdjpls" if "JPEG-LS" in syntax_of(path).name else "dcmdjpeg"))
    return dataset.pixel_array


def syntax_of(path: Path) -> uid.UID:
    return pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID


@pytest.mark.parametrize(
    ("name", "command", "syntax", "tolerance"),
    [
        ("8 bit", ["dcmcjpeg", "+eb", "+q", "95"], uid.JPEGBaseline8Bit, 1),
        ("8 bit", ["dcmcjpeg", "+ee", "+q", "95"], uid.JPEGExtended12Bit, 1),
        ("12 bit", ["dcmcjpeg", "+ee", "+q", "95"], uid.JPEGExtended12Bit, 1),
        ("12 bit", ["dcmcjpls", "+en", "+md", "3"], uid.JPEGLSNearLossless, 0),
    ],
)
def test_lossy_codecs_against_dcmtks_own_decoder(
    tmp_path: Path, name: str, command: list[str], syntax: uid.UID, tolerance: int
) -> None:
    pixels, bits = SAMPLES[name]
    path = convert(write(tmp_path / "image", pixels, bits=bits), *command)
    assert syntax_of(path) == syntax
    read = read_mammogram(path).pixels.astype(int)
    assert np.abs(read - decompressed(path)).max() <= tolerance
    # DCMTK stretches gray images to the full range before lossy JPEG.
    assert 0 < np.abs(read - pixels).max() < 0.05 * (1 << bits)


def test_a_point_transform_drops_the_low_bits_and_no_more(tmp_path: Path) -> None:
    path = convert(write(tmp_path / "image", picture()), "dcmcjpeg", "+el", "+sv", "1", "+pt", "2")
    read = read_mammogram(path).pixels
    np.testing.assert_array_equal(read, decompressed(path))
    np.testing.assert_array_equal(read >> 2, picture() >> 2)


@pytest.mark.parametrize(
    ("option", "syntax"),
    [
        ("+ti", uid.ImplicitVRLittleEndian),
        ("+tb", uid.ExplicitVRBigEndian),
        ("+td", uid.DeflatedExplicitVRLittleEndian),
    ],
)
@pytest.mark.parametrize("name", SAMPLES)
def test_native_syntaxes(tmp_path: Path, name: str, option: str, syntax: uid.UID) -> None:
    pixels, bits = SAMPLES[name]
    path = convert(write(tmp_path / "image", pixels, bits=bits), "dcmconv", option)
    assert syntax_of(path) == syntax
    np.testing.assert_array_equal(read_mammogram(path).pixels, pixels)

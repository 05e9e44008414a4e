from __future__ import annotations

import errno
import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from maseg_nnunet.errors import OutputError, Reason, RefusedError
from maseg_nnunet.writers.nifti import read_nifti, write_nifti

MASK = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_simpleitk_reads_array_and_spacing_back(tmp_path: Path, dtype: type) -> None:
    array = np.random.default_rng(0).uniform(-2, 200, (5, 7)).astype(dtype)
    write_nifti(tmp_path / "a.nii.gz", array, (0.0941, 0.07))
    image = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    assert image.GetDimension() == 2
    assert image.GetSpacing() == pytest.approx((0.07, 0.0941), rel=1e-7)
    assert image.GetDirection() == (1.0, 0.0, 0.0, 1.0)
    assert image.GetOrigin() == (0.0, 0.0)
    read = sitk.GetArrayFromImage(image)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, array)


def test_nnunet_reads_it_as_one_2d_channel(tmp_path: Path) -> None:
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    image = np.linspace(-0.5, 1.5, 35, dtype=np.float32).reshape(5, 7)
    write_nifti(tmp_path / "case_0000.nii.gz", image, (0.4, 0.4))
    array, properties = SimpleITKIO().read_images([str(tmp_path / "case_0000.nii.gz")])
    np.testing.assert_array_equal(array, image[None, None])
    assert properties["spacing"][1:] == pytest.approx([0.4, 0.4], rel=1e-7)


def test_header_is_the_one_that_itk_writes(tmp_path: Path) -> None:
    write_nifti(tmp_path / "ours.nii.gz", MASK, (0.2, 0.1))
    image = sitk.GetImageFromArray(MASK)
    image.SetSpacing((0.1, 0.2))
    sitk.WriteImage(image, str(tmp_path / "itk.nii.gz"))
    import nibabel

    ours, itk = (nibabel.load(tmp_path / f"{name}.nii.gz").header for name in ("ours", "itk"))
    np.testing.assert_array_equal(ours.get_qform(), itk.get_qform())
    np.testing.assert_array_equal(ours.get_sform(), itk.get_sform())
    assert ours.get_data_shape() == itk.get_data_shape() == (4, 3)
    assert ours.get_xyzt_units()[0] == itk.get_xyzt_units()[0] == "mm"


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    spacing=st.tuples(*[st.integers(200, 10000).map(lambda n: n / 10000)] * 2),
)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: int, columns: int, spacing: tuple) -> None:
    path = tmp_path_factory.mktemp("nifti") / "x.nii.gz"
    array = np.random.default_rng(rows).integers(0, 3, (rows, columns), dtype=np.uint8)
    write_nifti(path, array, spacing)
    read, read_spacing = read_nifti(path)
    np.testing.assert_array_equal(read, array)
    assert read_spacing == spacing


def test_equal_input_gives_equal_bytes_and_is_not_written_twice(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    assert write_nifti(path, MASK, (0.4, 0.4))
    first = path.read_bytes()
    assert first[4:8] == bytes(4), "gzip's time stamp"
    os.utime(path, (0, 0))
    assert not write_nifti(path, MASK, (0.4, 0.4))
    assert path.stat().st_mtime == 0
    path.unlink()
    assert write_nifti(path, np.asfortranarray(MASK), (0.4, 0.4))
    assert path.read_bytes() == first


def test_reads_a_third_axis_of_one_and_what_itk_wrote(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(MASK[None])
    image.SetSpacing((0.1, 0.2, 1))
    sitk.WriteImage(image, str(tmp_path / "x.nii.gz"))
    array, spacing = read_nifti(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(array, MASK)
    assert spacing == (0.2, 0.1)


@pytest.mark.parametrize("array", [np.zeros((2, 2), np.int64), np.zeros((1, 2, 2), np.uint8), np.zeros(3, np.float32)])
def test_other_arrays_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(OutputError, match="uint8 or float32"):
        write_nifti(tmp_path / "x.nii.gz", array, (1, 1))
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_nifti(tmp_path / "x.nii.gz", MASK, (1, 1))
    assert list(tmp_path.iterdir()) == []


def _volume(path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5), np.uint8)), str(path))


def _cut(keep: float, inside: bool) -> object:
    def make(path: Path) -> None:
        write_nifti(path, np.random.default_rng(0).random((50, 50)).astype(np.float32), (1, 1))
        data = path.read_bytes()
        if inside:
            data = gzip.decompress(data)
        data = data[: int(len(data) * keep)]
        path.write_bytes(gzip.compress(data) if inside else data)

    return make


def _huge(path: Path) -> None:
    write_nifti(path, MASK, (1, 1))
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[42:46] = np.array([20000, 20000], "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(data)))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_bytes(b""), Reason.UNREADABLE),
        (lambda path: path.write_bytes(b"not gzip" * 100), Reason.UNREADABLE),
        (lambda path: path.write_bytes(gzip.compress(b"no NIfTI" * 100)), Reason.UNREADABLE),
        (_volume, Reason.UNREADABLE),
        (_cut(0.5, inside=False), Reason.TRUNCATED),
        (_cut(0.5, inside=True), Reason.TRUNCATED),
        (_cut(0.01, inside=True), Reason.UNREADABLE),
        (_huge, Reason.TOO_LARGE),
    ],
)
def test_bad_files_are_refused_with_a_reason(tmp_path: Path, make: object, reason: Reason) -> None:
    make(tmp_path / "x.nii.gz")
    with pytest.raises(RefusedError) as caught:
        read_nifti(tmp_path / "x.nii.gz")
    assert caught.value.reason is reason


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_nifti(tmp_path / "x.nii.gz")

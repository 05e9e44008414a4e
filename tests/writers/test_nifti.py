from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from maseg_nnunet.errors import OutputError
from maseg_nnunet.writers.nifti import write_nifti

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

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom import dcmread

from maseg_nnunet.errors import OutputError
from maseg_nnunet.mammogram import Side
from maseg_nnunet.writers.dicom_seg import write_dicom_seg
from maseg_nnunet.writers.nifti import write_nifti
from maseg_nnunet.writers.png import write_mask_png
from maseg_nnunet.writers.results import Format, write_mask
from tests.writers.seg_factory import ALGORITHM, make_mask, read_labels, write_source


@pytest.mark.parametrize("name", ["GE_RCC.dcm", "GE_SIGMOID_3LUT_RMLO.dcm"])
def test_a_drawn_mask_comes_back_at_its_place_in_every_format(real_dicom: Path, tmp_path: Path, name: str) -> None:
    source = dcmread(real_dicom / name, stop_before_pixels=True)
    spacing = tuple(float(s) for s in source.ImagerPixelSpacing)
    mask = make_mask((source.Rows, source.Columns))
    write_nifti(tmp_path / "x.nii.gz", mask, spacing)
    write_mask_png(tmp_path / "x.png", mask)
    write_dicom_seg(tmp_path / "x_seg.dcm", mask, real_dicom / name, spacing, Side.RIGHT, ALGORITHM)

    nifti = sitk.ReadImage(str(tmp_path / "x.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(nifti), mask)
    assert nifti.GetSpacing() == pytest.approx(spacing[::-1], rel=1e-6)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "x.png"), cv2.IMREAD_UNCHANGED), mask)
    np.testing.assert_array_equal(read_labels(tmp_path / "x_seg.dcm", source.SOPInstanceUID), mask)


def test_a_source_is_dicom_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    more = {"spacing": (0.1, 0.2), "side": Side.LEFT, "algorithm": ALGORITHM}
    source = write_source(tmp_path / "source.png")
    assert write_mask(tmp_path / "x", make_mask((60, 50)), Format.DICOM_SEG, source=source, **more).is_file()
    film = tmp_path / "film"
    cv2.imwrite(str(tmp_path / "film.pgm"), np.zeros((60, 50), np.uint8))
    (tmp_path / "film.pgm").rename(film)
    with pytest.raises(OutputError, match="the source is not a DICOM file"):
        write_mask(tmp_path / "y", make_mask((60, 50)), Format.DICOM_SEG, source=film, **more)

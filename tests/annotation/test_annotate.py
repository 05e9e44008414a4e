from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK

from maseg_nnunet.annotation.annotate import annotate
from maseg_nnunet.annotation.itk_snap import label_file
from maseg_nnunet.annotation.otsu import initial_mask
from maseg_nnunet.dataset_conversion.convert_dataset import Request, convert_dataset
from maseg_nnunet.dataset_conversion.datasets import REGISTRY
from maseg_nnunet.errors import UsageError
from maseg_nnunet.mammogram import View


def outcomes(folder: Path, output: Path, view: View | None = None) -> dict[str, str]:
    """Annotate the images in `folder` by Otsu; the outcome of each."""
    return {done.name: done.outcome for done in annotate([folder], output, initial_mask, spacing_mm=0.2, view=view)}


def test_masks_pictures_and_workspaces_on_the_source_grid(films: Path, tmp_path: Path) -> None:
    done = outcomes(films / "films", tmp_path, View.MLO)
    assert len(done) == 24 and set(done.values()) == {"written"}
    mask = SimpleITK.ReadImage(str(tmp_path / "mdb001.nii.gz"))
    assert mask.GetSpacing() == pytest.approx((0.2, 0.2))
    assert SimpleITK.GetArrayFromImage(mask).shape == (96, 80)
    source = cv2.imread(str(films / "films" / "mdb001.pgm"), cv2.IMREAD_UNCHANGED)
    picture = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "mdb001_picture.nii.gz")))
    assert np.corrcoef(picture.ravel(), source.ravel())[0, 1] > 0.999
    assert (tmp_path / "labels.txt").read_text() == label_file()


def test_what_a_person_corrected_is_kept_and_read_back(films: Path, tmp_path: Path) -> None:
    assert set(outcomes(films / "films", tmp_path / "masks").values()) == {"written"}
    corrected = SimpleITK.ReadImage(str(tmp_path / "masks" / "mdb001.nii.gz"))
    array = SimpleITK.GetArrayFromImage(corrected)
    array[:10, :10] = 2
    image = SimpleITK.GetImageFromArray(array)
    image.CopyInformation(corrected)
    SimpleITK.WriteImage(image, str(tmp_path / "masks" / "mdb001.nii.gz"))
    again = outcomes(films / "films", tmp_path / "masks")
    assert len(again) == 24 and set(again.values()) == {"kept"}
    np.testing.assert_array_equal(
        SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "masks" / "mdb001.nii.gz"))), array
    )
    request = Request(REGISTRY["mini_mias"], films / "films", tmp_path / "set", masks=tmp_path / "masks")
    report = convert_dataset(request)
    assert report["found"]["images"] == 24
    label = next((tmp_path / "set").rglob("labelsT?/mdb001.nii.gz"))
    assert (SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(label)))[:5, :5] == 2).all()


def test_nothing_of_the_users_is_replaced(films: Path, tmp_path: Path) -> None:
    film = (films / "films" / "mdb001.pgm").read_bytes()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "labels.txt").write_text("mine")
    (tmp_path / "in" / "x_picture.pgm").write_bytes(film)
    with pytest.raises(UsageError):
        outcomes(tmp_path / "in", tmp_path / "in")
    assert (tmp_path / "in" / "labels.txt").read_text() == "mine"
    assert outcomes(tmp_path / "in", tmp_path / "out") == {"x_picture.pgm": "written"}
    (tmp_path / "out" / "labels.txt").write_text("extended")
    mask = (tmp_path / "out" / "x_picture.nii.gz").read_bytes()
    # The picture of x would have the name of that mask.
    (tmp_path / "in" / "x.pgm").write_bytes(film)
    done = outcomes(tmp_path / "in", tmp_path / "out")
    assert done["x.pgm"] == "its picture would replace the mask x_picture.nii.gz: rename it"
    assert (tmp_path / "out" / "x_picture.nii.gz").read_bytes() == mask
    assert (tmp_path / "out" / "labels.txt").read_text() == "extended"
    done = outcomes(tmp_path / "in", tmp_path / "fresh")
    assert done == {"x.pgm": "written", "x_picture.pgm": "its mask would replace the picture of x: rename it"}
    assert (tmp_path / "fresh" / "x.nii.gz").is_file()

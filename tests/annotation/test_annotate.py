from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path
from xml.etree.ElementTree import fromstring

import cv2
import numpy as np
import pytest
import SimpleITK

from maseg_nnunet.annotation.itk_snap import label_file, workspace
from maseg_nnunet.dataset_conversion.convert_dataset import Request, convert_dataset
from maseg_nnunet.dataset_conversion.datasets import REGISTRY
from maseg_nnunet.readers import read_mammogram
from tests.commands import Run, stumbling


def test_masks_pictures_and_workspaces_on_the_source_grid(films: Path, tmp_path: Path, maseg: Run) -> None:
    done = maseg("annotate", films / "films", "-o", tmp_path, "--spacing-mm", 0.2, "--view", "MLO")
    assert done.status == 0, done.err
    assert "24 masks written" in done.out
    mask = SimpleITK.ReadImage(str(tmp_path / "mdb001.nii.gz"))
    assert mask.GetSpacing() == pytest.approx((0.2, 0.2))
    assert SimpleITK.GetArrayFromImage(mask).shape == (96, 80)
    source = cv2.imread(str(films / "films" / "mdb001.pgm"), cv2.IMREAD_UNCHANGED)
    picture = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "mdb001_picture.nii.gz")))
    assert np.corrcoef(picture.ravel(), source.ravel())[0, 1] > 0.999
    assert (tmp_path / "labels.txt").read_text() == label_file()


def test_what_a_person_corrected_is_kept_and_read_back(films: Path, tmp_path: Path, maseg: Run) -> None:
    arguments = ("annotate", films / "films", "-o", tmp_path / "masks", "--spacing-mm", 0.2)
    assert maseg(*arguments).status == 0
    corrected = SimpleITK.ReadImage(str(tmp_path / "masks" / "mdb001.nii.gz"))
    array = SimpleITK.GetArrayFromImage(corrected)
    array[:10, :10] = 2
    image = SimpleITK.GetImageFromArray(array)
    image.CopyInformation(corrected)
    SimpleITK.WriteImage(image, str(tmp_path / "masks" / "mdb001.nii.gz"))
    again = maseg(*arguments)
    assert "0 masks written, 24 kept" in again.out
    np.testing.assert_array_equal(
        SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "masks" / "mdb001.nii.gz"))), array
    )
    request = Request(REGISTRY["mini_mias"], films / "films", tmp_path / "set", masks=tmp_path / "masks")
    report = convert_dataset(request)
    assert report["found"]["images"] == 24
    label = next((tmp_path / "set").rglob("labelsT?/mdb001.nii.gz"))
    assert (SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(label)))[:5, :5] == 2).all()


def test_another_image_of_that_name_is_not_taken_for_the_one_before(films: Path, tmp_path: Path, maseg: Run) -> None:
    for day, name in (("monday", "mdb001"), ("tuesday", "mdb002")):
        (tmp_path / day).mkdir()
        shutil.copy(films / "films" / f"{name}.pgm", tmp_path / day / "im1.pgm")
    options = ("-o", tmp_path / "masks", "--spacing-mm", 0.2)
    assert maseg("annotate", tmp_path / "monday", *options).status == 0
    assert "1 kept" in maseg("annotate", tmp_path / "monday", *options).out
    mask = (tmp_path / "masks" / "im1.nii.gz").read_bytes()
    # A run that was killed left half a line before the one of this image.
    stamps = tmp_path / "masks" / "images.jsonl"
    whole = stamps.read_text()
    stamps.write_text('["im0", "12')
    (tmp_path / "masks" / "im1.nii.gz").unlink()
    assert "1 masks written" in maseg("annotate", tmp_path / "monday", *options).out
    assert whole.strip() in stamps.read_text().splitlines()
    answer = maseg("annotate", tmp_path / "tuesday", *options)
    assert answer.status == 1 and "another image of that name" in answer.err
    assert (tmp_path / "masks" / "im1.nii.gz").read_bytes() == mask
    assert maseg("annotate", tmp_path / "tuesday", *options, "--overwrite").status == 0
    assert "1 kept" in maseg("annotate", tmp_path / "tuesday", *options).out


def test_a_model_without_its_method_is_told(films: Path, tmp_path: Path, maseg: Run) -> None:
    answer = maseg("annotate", films / "films", "-o", tmp_path, "--model", tmp_path)
    assert answer.status == 2 and "--method model" in answer.err


def test_report_against_references(films: Path, tmp_path: Path, maseg: Run) -> None:
    arguments = ("annotate", films / "films", "-o", tmp_path, "--spacing-mm", 0.2, "--view", "MLO")
    done = maseg(*arguments, "--report", films / "masks")
    assert "24 images with a reference" in done.out
    with (tmp_path / "report.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 24
    mean = np.mean([float(row["dice_breast"]) for row in rows])
    assert f"dice breast: mean {mean:.3f}" in done.out
    assert mean > 0.8
    # Again, with all of them kept, and one corrected: the report is of what is there.
    reference = SimpleITK.ReadImage(str(films / "masks" / "mdb001.png"))
    SimpleITK.WriteImage(reference, str(tmp_path / "mdb001.nii.gz"))
    again = maseg(*arguments, "--report", films / "masks")
    assert "0 masks written, 24 kept" in again.out and "24 images with a reference" in again.out
    with (tmp_path / "report.csv").open(newline="") as handle:
        assert {row["image"]: row["dice_overall"] for row in csv.DictReader(handle)}["mdb001.pgm"] == "1.0"


def test_a_broken_reference_takes_nothing_from_the_mask(films: Path, tmp_path: Path, maseg: Run) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "references").mkdir()
    for name in ("mdb001", "mdb002"):
        (tmp_path / "in" / f"{name}.pgm").write_bytes((films / "films" / f"{name}.pgm").read_bytes())
        (tmp_path / "references" / f"{name}.png").write_bytes((films / "masks" / f"{name}.png").read_bytes())
    (tmp_path / "references" / "mdb001.png").write_bytes(b"no picture")
    arguments = ("annotate", tmp_path / "in", "-o", tmp_path / "out", "--spacing-mm", 0.2, "--view", "MLO")
    for counted in ("2 masks written, 0 kept", "0 masks written, 2 kept"):
        done = maseg(*arguments, "--report", tmp_path / "references")
        assert done.status == 1
        assert counted in done.out and "1 images with a reference" in done.out
        assert "mdb001.pgm: not compared with its reference: " in done.err
        assert "1 of 2 masks could not be compared with their references" in done.err


def test_bad_images_are_named_and_the_rest_goes_on(films: Path, tmp_path: Path, maseg: Run) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "good.pgm").write_bytes((films / "films" / "mdb001.pgm").read_bytes())
    (tmp_path / "in" / "short.pgm").write_bytes((films / "films" / "mdb001.pgm").read_bytes()[:100])
    (tmp_path / "in" / "notes.txt").write_text("no image")
    done = maseg("annotate", tmp_path / "in", "-o", tmp_path / "out", "--spacing-mm", 0.2)
    assert done.status == 1
    assert "short.pgm: truncated" in done.err
    assert "1 of 2 images got no mask" in done.err
    assert {path.name for path in (tmp_path / "out").glob("*.nii.gz")} == {"good.nii.gz", "good_picture.nii.gz"}
    assert maseg("annotate", tmp_path / "in", "-o", tmp_path / "out", "--view", "sideways").status == 2
    assert maseg("annotate", tmp_path / "nowhere", "-o", tmp_path / "out").status == 2


def test_nothing_of_the_users_is_replaced(films: Path, tmp_path: Path, maseg: Run) -> None:
    film = (films / "films" / "mdb001.pgm").read_bytes()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "labels.txt").write_text("mine")
    (tmp_path / "in" / "x_picture.pgm").write_bytes(film)
    assert maseg("annotate", tmp_path / "in", "-o", tmp_path / "in").status == 2
    assert (tmp_path / "in" / "labels.txt").read_text() == "mine"
    arguments = ("annotate", tmp_path / "in", "-o", tmp_path / "out", "--spacing-mm", 0.2)
    assert maseg(*arguments).status == 0
    (tmp_path / "out" / "labels.txt").write_text("extended")
    mask = (tmp_path / "out" / "x_picture.nii.gz").read_bytes()
    # The picture of x would be called as that mask.
    (tmp_path / "in" / "x.pgm").write_bytes(film)
    done = maseg(*arguments)
    assert done.status == 1 and "x.pgm: its picture would replace the mask x_picture.nii.gz" in done.err
    assert (tmp_path / "out" / "x_picture.nii.gz").read_bytes() == mask
    assert (tmp_path / "out" / "labels.txt").read_text() == "extended"
    done = maseg(*arguments[:3], tmp_path / "fresh", *arguments[4:])
    assert done.status == 1 and "x_picture.pgm: its mask would replace the picture of x" in done.err
    assert (tmp_path / "fresh" / "x.nii.gz").is_file()


def test_odd_names_and_errors_nobody_thought_of_end_nothing(
    films: Path, tmp_path: Path, maseg: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from maseg_nnunet.annotation import annotate

    monkeypatch.setattr(annotate, "read_mammogram", stumbling(read_mammogram, "b.pgm"))
    (tmp_path / "in").mkdir()
    for name in (b"a\xff.pgm", b"b.pgm", b"c.pgm"):
        shutil.copy(films / "films" / "mdb001.pgm", os.fsencode(tmp_path / "in") + b"/" + name)
    done = maseg("annotate", tmp_path / "in", "-o", tmp_path / "out", "--spacing-mm", 0.2)
    assert done.status == 1 and "rename it" in done.err and "b.pgm: internal error: IndexError" in done.err
    assert "secret" not in done.err and (tmp_path / "out" / "c.nii.gz").is_file()


def test_workspace_names_both_files_and_the_labels() -> None:
    registry = fromstring(workspace(Path("/x/a & b_picture.nii.gz"), Path("/x/a & b.nii.gz")))
    entries = {(entry.get("key"), entry.get("value")) for entry in registry.iter("entry")}
    assert ("AbsolutePath", "/x/a & b.nii.gz") in entries
    assert ("Role", "SegmentationRole") in entries
    assert ("Label", "pectoral muscle") in entries

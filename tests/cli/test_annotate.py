"""`maseg annotate` as a user calls it."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from maseg_nnunet.readers import read_mammogram
from tests.commands import Run, stumbling


def test_another_image_of_that_name_is_not_taken_for_the_one_before(films: Path, tmp_path: Path, maseg: Run) -> None:
    for day, name in (("monday", "mdb001"), ("tuesday", "mdb002")):
        (tmp_path / day).mkdir()
        shutil.copy(films / "films" / f"{name}.pgm", tmp_path / day / "im1.pgm")
    options = ("-o", tmp_path / "masks", "--spacing-mm", 0.2)
    assert maseg("annotate", tmp_path / "monday", *options).status == 0
    assert "1 kept" in maseg("annotate", tmp_path / "monday", *options).out
    mask = (tmp_path / "masks" / "im1.nii.gz").read_bytes()
    # A killed run left half a line before the one of this image.
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
    # Again, with all masks kept and one corrected: the report is about the masks that exist.
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
    (tmp_path / "references" / "mdb001.png").write_bytes(b"not a picture")
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
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    done = maseg("annotate", tmp_path / "in", "-o", tmp_path / "out", "--spacing-mm", 0.2)
    assert done.status == 1
    assert "short.pgm: truncated" in done.err
    assert "1 of 2 images got no mask" in done.err
    assert {path.name for path in (tmp_path / "out").glob("*.nii.gz")} == {"good.nii.gz", "good_picture.nii.gz"}
    assert maseg("annotate", tmp_path / "in", "-o", tmp_path / "out", "--view", "sideways").status == 2
    assert maseg("annotate", tmp_path / "nowhere", "-o", tmp_path / "out").status == 2


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

"""`maseg export` as a user calls it."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom import dcmread

from maseg_nnunet.writers.nifti import write_nifti
from tests.commands import Run
from tests.prediction.converted import TARGET, Converted, write_left_exam


@pytest.fixture(scope="module")
def exam(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_left_exam(tmp_path_factory.mktemp("exam"))


@pytest.fixture
def converted(tmp_path: Path, exam: list[Path]) -> Converted:
    return Converted(tmp_path, exam)


def test_every_format_preview_and_statistics_are_written(converted: Converted, maseg: Run) -> None:
    answer = maseg(*converted.arguments("--format", "nifti,png,dicom-seg", "--preview", "--statistics"))
    assert (answer.status, answer.err) == (0, "") and "2 of 2 cases exported" in answer.out
    written = {f"{case}{end}" for case in converted.drawn for end in (".nii.gz", ".png", "_seg.dcm", "_preview.png")}
    assert {path.name for path in converted.output.iterdir()} == written | {"statistics.csv"}
    table = csv.DictReader((converted.output / "statistics.csv").read_text().splitlines())
    assert {row["case"] for row in table} == set(converted.drawn)


def test_what_convert_vendor_wrote_is_exported(
    exam: list[Path], tmp_path: Path, maseg: Run, convert_vendor: Run
) -> None:
    folder, masks, output = tmp_path / "converted", tmp_path / "masks", tmp_path / "out"
    answer = convert_vendor("--name", "fuji", "--input", exam[0].parent, "--output", folder)
    assert answer.status == 0, answer.err
    for image in folder.glob("*_0000.nii.gz"):
        units = sitk.GetArrayFromImage(sitk.ReadImage(str(image)))
        write_nifti(masks / image.name.replace("_0000", ""), (units > 0.1).astype(np.uint8), TARGET)
    assert maseg("export", masks, "-c", folder, "-o", output, "--format", "dicom-seg", "--preview").status == 0
    found = {seg.SourceImageSequence[0].ReferencedSOPInstanceUID for seg in map(dcmread, output.glob("*_seg.dcm"))}
    assert found == {dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in exam}


def test_a_second_run_writes_nothing(converted: Converted, maseg: Run) -> None:
    maseg(*converted.arguments("--format", "nifti,png,dicom-seg", "--preview"))
    before = {path: path.stat().st_mtime_ns for path in converted.output.iterdir()}
    assert maseg(*converted.arguments("--format", "nifti,png,dicom-seg", "--preview")).status == 0
    assert {path: path.stat().st_mtime_ns for path in converted.output.iterdir()} == before


def test_the_masks_are_never_written_over(converted: Converted, maseg: Run) -> None:
    before = {path: path.read_bytes() for path in converted.masks.iterdir()}
    answer = maseg("export", converted.masks, "-c", converted.folder, "-o", converted.masks)
    assert answer.status == 2 and "would be lost" in answer.err
    assert {path: path.read_bytes() for path in converted.masks.iterdir()} == before


def test_a_missing_mask_is_named_and_the_status_is_1(converted: Converted, maseg: Run) -> None:
    bad, good = converted.drawn
    (converted.masks / f"{bad}.nii.gz").unlink()
    answer = maseg(*converted.arguments("--statistics"))
    assert answer.status == 1 and "1 of 2 cases exported" in answer.out
    assert bad in answer.err and "no mask" in answer.err and good not in answer.err
    assert len((converted.output / "statistics.csv").read_text().splitlines()) == 2


def test_another_file_in_a_sources_place_gets_no_mask_of_hers(
    exam: list[Path], tmp_path: Path, maseg: Run, convert_vendor: Run
) -> None:
    exams, folder, masks = tmp_path / "exams", tmp_path / "converted", tmp_path / "masks"
    exams.mkdir()
    for image in exam:
        shutil.copy(image, exams)
    answer = convert_vendor("--name", "fuji", "--input", exams, "--output", folder)
    assert answer.status == 0, answer.err
    masks.mkdir()
    for image in folder.glob("*_0000.nii.gz"):
        shape = sitk.ReadImage(str(image)).GetSize()[::-1]
        write_nifti(masks / image.name.replace("_0000", ""), np.ones(shape, np.uint8), TARGET)
    # The import folder is filled with other women's images, which have the same names and sizes.
    first, second = (exams / image.name for image in exam)
    first.rename(tmp_path / "aside")
    shutil.copyfile(second, first)
    answer = maseg("export", masks, "-c", folder, "-o", tmp_path / "out", "--format", "nifti,dicom-seg", "--preview")
    assert answer.status == 1 and answer.err.count("has changed since") == 2, answer.err
    assert len(list((tmp_path / "out").glob("*_seg.dcm"))) == len(list((tmp_path / "out").glob("*_preview.png"))) == 1


def test_folders_that_are_none(converted: Converted, maseg: Run, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "contains no mask" in maseg("export", empty, "-c", converted.folder, "-o", converted.output).err
    assert "manifest" in maseg("export", converted.masks, "-c", empty, "-o", converted.output).err
    (converted.folder / "sources.csv").unlink()
    assert "sources.csv is missing" in maseg(*converted.arguments("--format", "dicom-seg")).err
    assert maseg(*converted.arguments()).status == 0
    answer = maseg(*converted.arguments("--format", "jpeg"))
    assert answer.status == 2 and "jpeg" in answer.err

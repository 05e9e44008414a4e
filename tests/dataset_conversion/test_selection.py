"""Which images are converted, as whose, and in which subset: duplicates, twins, women, split files."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from maseg_nnunet.dataset.manifest import read_manifest
from maseg_nnunet.dataset_conversion import selection
from maseg_nnunet.dataset_conversion.convert_dataset import convert_dataset
from maseg_nnunet.dataset_conversion.scan import Scanned
from maseg_nnunet.dataset_conversion.selection import Selected
from maseg_nnunet.errors import DatasetError
from maseg_nnunet.mammogram import Intent, Side, View
from tests.dataset_conversion.helpers import BOTH, WITH_RAW, converted_mask, edited, exams_request, films_request


def test_duplicates_are_kept_once(exams: Path, tmp_path: Path, key: Path) -> None:
    base = tmp_path / "twice"
    shutil.copytree(exams / "fuji", base)
    first = next((base / "images").rglob("*.dcm"))
    shutil.copy(first, first.with_name("zz_copy.dcm"))
    report = convert_dataset(exams_request(base, "fuji", tmp_path / "out", key))
    assert report["found"]["images"] == 8
    assert report["rejected"] == {"duplicate SOPInstanceUID": 1}


def test_of_two_copies_the_whole_one_is_kept(exams: Path, tmp_path: Path, key: Path) -> None:
    base = tmp_path / "twice"
    shutil.copytree(exams / "fuji", base)
    first = next((base / "images").rglob("*.dcm"))
    (base / "images" / "zz").mkdir()
    shutil.copy(first, base / "images" / "zz" / first.name)
    first.write_bytes(first.read_bytes()[:-500])
    report = convert_dataset(exams_request(base, "fuji", tmp_path / "out", key))
    assert report["found"]["images"] == 8
    assert report["rejected"] == {"duplicate SOPInstanceUID": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "TOMO_PROJ"]},
        {"ImageType": ["DERIVED", "PRIMARY", "POST_CONTRAST", "SUBTRACTION"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "STEREO_MINUS"]},
        {"QualityControlImage": "YES"},
    ],
)
def test_images_of_another_kind_are_left_out(
    exams: Path, tmp_path: Path, key: Path, change: dict[str, str | list[str]]
) -> None:
    base = tmp_path / "in"
    shutil.copytree(exams / "fuji", base)
    first = next((base / "images").rglob("*.dcm"))
    header = pydicom.dcmread(first)
    for keyword, value in change.items():
        setattr(header, keyword, value)
    header.save_as(first)
    report = convert_dataset(exams_request(base, "fuji", tmp_path / "out", key))
    assert report["rejected"] == {"special view": 1}


def test_images_without_an_instance_uid_are_no_duplicates_but_of_copies(exams: Path, tmp_path: Path, key: Path) -> None:
    edited(exams / "fuji", tmp_path / "in", SOPInstanceUID="")
    first = next((tmp_path / "in" / "images").rglob("*.dcm"))
    shutil.copy(first, first.with_name("zz_copy.dcm"))
    report = convert_dataset(exams_request(tmp_path / "in", "fuji", tmp_path / "out", key))
    assert report["found"]["images"] == 8
    assert report["rejected"] == {"duplicate SOPInstanceUID": 1}


@pytest.mark.parametrize("vendor", sorted(WITH_RAW))
def test_twins_find_each_other_and_share_mask_and_subset(exams: Path, vendor: str, tmp_path: Path, key: Path) -> None:
    convert_dataset(exams_request(exams, vendor, tmp_path / "out", key))
    rows = {row.case: row for row in read_manifest(tmp_path / "out")}
    for row in rows.values():
        twin = rows[row.twin]
        assert twin.twin == row.case
        assert twin.case.removesuffix("_raw") == row.case.removesuffix("_raw")
        assert (twin.woman, twin.subset, twin.view, twin.side) == (row.woman, row.subset, row.view, row.side)
        np.testing.assert_array_equal(converted_mask(tmp_path / "out", row), converted_mask(tmp_path / "out", twin))


@pytest.mark.parametrize(
    ("change", "is_mirrored"),
    [
        ({"PatientOrientation": ["P", "F"]}, True),
        ({"PatientOrientation": ["A", "F"]}, False),
        ({"PatientOrientation": None, "FieldOfViewHorizontalFlip": "YES"}, True),
        ({"PatientOrientation": None, "FieldOfViewHorizontalFlip": "NO"}, False),
    ],
)
def test_a_raw_twin_that_is_stored_mirrored_gets_no_mask(
    exams: Path, tmp_path: Path, key: Path, change: dict[str, str | list[str] | None], is_mirrored: bool
) -> None:
    edited(exams / "ge", tmp_path / "in", PatientOrientation=["A", "F"], FieldOfViewHorizontalFlip="NO")
    for path in (tmp_path / "in" / "images").rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        if dataset.PresentationIntentType == "FOR PROCESSING":
            for keyword, value in change.items():
                setattr(dataset, keyword, value)
            dataset.save_as(path)
            for mask in (tmp_path / "in" / "masks").rglob(f"{path.stem}.*"):
                mask.unlink()
    report = convert_dataset(exams_request(tmp_path / "in", "ge", tmp_path / "out", key, intents=BOTH))
    rows = read_manifest(tmp_path / "out")
    raw = [row for row in rows if row.intent == "raw"]
    if is_mirrored:
        assert not raw and report["rejected"] == {"mask missing": 8}
        assert "stored mirrored" in (tmp_path / "out" / "rejected.csv").read_text()
    else:
        assert len(raw) == 8 and not report["rejected"]


def test_images_of_two_views_are_no_twins(exams: Path, tmp_path: Path, key: Path) -> None:
    """De-identification may give all acquisitions the same time, so images of one acquisition may not be partners."""
    shutil.copytree(exams / "ge", tmp_path / "in")
    processed, raw = [], []
    for path in sorted((tmp_path / "in" / "images").rglob("*.dcm")):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        view = header.ImageLaterality, header.ViewPosition
        kind = processed if header.PresentationIntentType == "FOR PRESENTATION" else raw
        if view == ("L", "CC") if kind is processed else view == ("R", "MLO"):
            kind.append(path)
        else:
            path.unlink()
    for path in (processed[0], raw[0]):
        dataset = pydicom.dcmread(path)
        dataset.AcquisitionDate, dataset.AcquisitionTime = "20000101", "000000"
        if "SourceImageSequence" in dataset:
            del dataset.SourceImageSequence
        dataset.save_as(path)
    convert_dataset(exams_request(tmp_path / "in", "ge", tmp_path / "out", key))
    rows = {(row.intent, row.view): row for row in read_manifest(tmp_path / "out")}
    assert set(rows) == {("processed", "CC"), ("raw", "MLO")}
    assert all(row.twin == "" for row in rows.values())


def test_raw_images_follow_their_women(exams: Path, tmp_path: Path, key: Path) -> None:
    subsets = []
    wanted = {"both": BOTH, "processed": frozenset({Intent.PROCESSED}), "raw": frozenset({Intent.RAW})}
    for name, intents in wanted.items():
        convert_dataset(exams_request(exams, "ge", tmp_path / name, key, intents=intents))
        subsets.append({row.woman: row.subset for row in read_manifest(tmp_path / name)})
    assert subsets[0] == subsets[1] == subsets[2]


def test_the_drawing_does_not_depend_on_the_key(exams: Path, tmp_path: Path, key: Path) -> None:
    other = tmp_path / "key"
    other.write_bytes(bytes(32))
    convert_dataset(exams_request(exams, "fuji", tmp_path / "a", key))
    convert_dataset(exams_request(exams, "fuji", tmp_path / "b", other))
    first, second = read_manifest(tmp_path / "a"), read_manifest(tmp_path / "b")
    assert not {row.woman for row in first} & {row.woman for row in second}
    assert sorted((row.source, row.subset) for row in first) == sorted((row.source, row.subset) for row in second)


def test_one_exam_is_of_one_woman_though_some_files_lack_the_issuer(exams: Path, tmp_path: Path, key: Path) -> None:
    for name, issuer in (("with", "A hospital"), ("without", "")):
        edited(exams / "ge" / "images", tmp_path / name, IssuerOfPatientID=issuer)
    for number, path in enumerate(sorted((tmp_path / "with").rglob("*.dcm"))):
        if number % 2:
            shutil.copy(tmp_path / "without" / path.relative_to(tmp_path / "with"), path)
    (tmp_path / "in").mkdir()
    (tmp_path / "with").rename(tmp_path / "in" / "images")
    shutil.copytree(exams / "ge" / "masks", tmp_path / "in" / "masks")
    report = convert_dataset(exams_request(tmp_path / "in", "ge", tmp_path / "out", key))
    rows = read_manifest(tmp_path / "out")
    assert report["found"]["women"] == 2 and len(rows) == 16
    assert len({(row.exam, row.woman, row.subset) for row in rows}) == 2


@pytest.mark.parametrize(
    ("issuers", "women"), [(("A", "A"), 1), (("A", "B"), 2), (("A", ""), 1), (("", "B"), 1), (("", ""), 1)]
)
def test_an_absent_issuer_is_not_another_woman(
    exams: Path, tmp_path: Path, key: Path, issuers: tuple[str, str], women: int
) -> None:
    edited(exams / "fuji", tmp_path / "in", PatientID="4711")
    studies: list[str] = []
    for path in sorted((tmp_path / "in" / "images").rglob("*.dcm")):
        dataset = pydicom.dcmread(path)
        if dataset.StudyInstanceUID not in studies:
            studies.append(dataset.StudyInstanceUID)
        dataset.IssuerOfPatientID = issuers[studies.index(dataset.StudyInstanceUID)]
        dataset.save_as(path)
    assert len(studies) == 2
    report = convert_dataset(exams_request(tmp_path / "in", "fuji", tmp_path / "out", key))
    assert report["found"]["women"] == women
    assert len({(row.woman, row.subset) for row in read_manifest(tmp_path / "out")}) == women


def test_raw_images_do_not_count_in_the_drawing() -> None:
    def items(raw_of_every_second: int) -> list[Selected]:
        found = []
        for woman in range(80):
            intents = [Intent.PROCESSED] * 4 + [Intent.RAW] * (raw_of_every_second if woman % 2 else 0)
            for intent in intents:
                scanned = Scanned(
                    number=len(found), path=Path(), known=None, woman=f"w{woman:02d}", drawn=woman, exam="", image="",
                    view=View.CC, side=Side.LEFT, intent=intent, vendor="fuji",
                )  # fmt: skip
                found.append(Selected(scanned, f"case{len(found)}", ""))
        return found

    assert selection._subsets(items(20), None) == selection._subsets(items(0), None)


def test_an_exam_of_too_many_images_joins_no_women(
    exams: Path, tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited(exams / "fuji", tmp_path / "in", StudyInstanceUID="1.2.3")
    convert = exams_request(tmp_path / "in", "fuji", tmp_path / "out", key)
    assert convert_dataset(convert)["found"]["women"] == 1
    monkeypatch.setattr("maseg_nnunet.dataset_conversion.selection.MOST_IMAGES", 7)
    assert convert_dataset(replace(convert, folder=tmp_path / "apart"))["found"]["women"] == 2


@pytest.mark.parametrize("dummy", ["", "0000000000", "ANONYMOUS"])
def test_women_without_a_patient_id_stay_apart(exams: Path, tmp_path: Path, key: Path, dummy: str) -> None:
    edited(exams / "fuji", tmp_path / "in", PatientID=dummy)
    report = convert_dataset(exams_request(tmp_path / "in", "fuji", tmp_path / "out", key))
    assert report["found"]["women"] == 2
    assert all("dummy" in row.flags for row in read_manifest(tmp_path / "out"))


def test_split_file(films: Path, tmp_path: Path) -> None:
    lines = [f"mdb{n:03d},{'test' if n <= 4 else 'val' if n <= 8 else 'train'}" for n in range(1, 25)]
    file = tmp_path / "split.csv"
    file.write_text("image,subset\n" + "\n".join(lines) + "\n")
    convert_dataset(films_request(films, tmp_path / "out", split_file=file))
    rows = read_manifest(tmp_path / "out")
    assert sorted(r.case for r in rows if r.subset == "test") == ["mdb001", "mdb002", "mdb003", "mdb004"]
    file.write_text("image,subset\n" + "\n".join(lines).replace("mdb001,test", "mdb001,train") + "\n")
    with pytest.raises(DatasetError, match="1 have several"):
        convert_dataset(films_request(films, tmp_path / "torn", split_file=file))
    file.write_text("image,subset\n" + "\n".join(lines) + "\na/mdb001.pgm,train\n")
    with pytest.raises(DatasetError, match="entry 25: an earlier entry gives the same name another subset"):
        convert_dataset(films_request(films, tmp_path / "torn", split_file=file))
    file.write_bytes(b"image,subset\nM\xe4rz,train\n")
    for options in ({"split_file": file}, {"masks": file}):
        with pytest.raises(DatasetError, match="not a CSV in UTF-8"):
            convert_dataset(replace(films_request(films, tmp_path / "torn"), **options))
    assert not (tmp_path / "torn").exists()

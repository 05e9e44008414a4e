"""Combining two converted data sets: films, and the same films under another name."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from maseg_nnunet.dataset.manifest import MANIFEST, ManifestRow, read_manifest, write_manifest
from maseg_nnunet.dataset_conversion.combine import combine
from maseg_nnunet.dataset_conversion.convert_case import ConversionSettings
from maseg_nnunet.dataset_conversion.convert_dataset import convert_dataset
from maseg_nnunet.errors import DatasetError, UsageError
from maseg_nnunet.files import write_json
from tests.commands import Run
from tests.dataset_conversion.helpers import MINI_MIAS, films_request


def rename(folder: Path, old: str, new: str, dataset: str) -> None:
    """Make a converted data set look like another one: its cases and women get another prefix."""
    for path in list(folder.rglob(f"{old}*.nii.gz")):
        path.rename(path.with_name(path.name.replace(old, new)))

    def renamed(row: ManifestRow) -> ManifestRow:
        woman = row.woman.replace("mini_mias", dataset)
        return replace(row, case=row.case.replace(old, new), woman=woman, exam=woman, dataset=dataset)

    write_manifest(folder / MANIFEST, [renamed(row) for row in read_manifest(folder)])
    for name in ("voi_luts.json", "splits_final.json"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace(old, new))


@pytest.fixture
def raw(films: Path, tmp_path: Path) -> Path:
    """nnUNet_raw with data sets 506 and 503."""
    base = tmp_path / "raw"
    convert_dataset(films_request(films, base / MINI_MIAS.folder))
    shutil.copytree(base / MINI_MIAS.folder, base / "Dataset503_Fuji")
    rename(base / "Dataset503_Fuji", "mdb", "fuji", "fuji")
    return base


def test_training_cases_are_referred_to_and_test_cases_are_links(raw: Path) -> None:
    folder = combine(raw, 500, [506, 503])
    assert folder.name == "Dataset500_Maseg"
    description = json.loads((folder / "dataset.json").read_text())
    assert len(description["dataset"]) == description["numTraining"] == 36
    for entry in description["dataset"].values():
        assert not Path(entry["label"]).is_absolute()
        assert all((folder / path).is_file() for path in (*entry["images"], entry["label"]))
    links = [path for place in ("imagesTs", "labelsTs") for path in (folder / place).iterdir()]
    assert len(links) == 24
    assert all(path.is_symlink() and path.is_file() for path in links)
    assert not (folder / "imagesTr").exists()


def test_folds(raw: Path) -> None:
    folder = combine(raw, 500, [506, 503])
    folds = json.loads((folder / "splits_final.json").read_text())
    names = json.loads((folder / "folds.json").read_text())
    assert names == [
        {"fold": 0, "name": "all"},
        {"fold": 1, "name": "without mini_mias", "left_out": "mini_mias"},
        {"fold": 2, "name": "without fuji", "left_out": "fuji"},
    ]
    parts = {row.case: row.dataset for row in read_manifest(folder)}
    assert {parts[case] for case in folds[0]["train"] + folds[0]["val"]} == {"mini_mias", "fuji"}
    assert {parts[case] for case in folds[1]["train"] + folds[1]["val"]} == {"fuji"}
    assert {parts[case] for case in folds[2]["train"] + folds[2]["val"]} == {"mini_mias"}
    single = json.loads((raw / MINI_MIAS.folder / "splits_final.json").read_text())[0]
    assert folds[2] == single


def test_cross_validation_holds_every_woman_back_once(raw: Path) -> None:
    folder = combine(raw, 500, [506, 503], cross_validation=3)
    folds = json.loads((folder / "splits_final.json").read_text())
    assert [entry["name"] for entry in json.loads((folder / "folds.json").read_text())][3:] == [
        f"share {number} of 3 held back" for number in (1, 2, 3)
    ]
    assert [entry.get("held_back") for entry in json.loads((folder / "folds.json").read_text())] == [None] * 3 + [
        1,
        2,
        3,
    ]
    rows = [row for row in read_manifest(folder) if row.subset != "test"]
    held = []
    for split in folds[3:]:
        used = set(split["train"] + split["val"])
        held.append({row.woman for row in rows if row.case not in used})
        assert not held[-1] & {row.woman for row in rows if row.case in used}
        assert set(split["train"]) <= set(folds[0]["train"]) and set(split["val"]) <= set(folds[0]["val"])
    assert sum(map(len, held)) == len(set.union(*held)) == len({row.woman for row in rows})
    assert max(map(len, held)) - min(map(len, held)) <= 1


def test_a_fold_without_a_part_is_without_its_women(raw: Path) -> None:
    first, second = read_manifest(raw / MINI_MIAS.folder), read_manifest(raw / "Dataset503_Fuji")
    mine = next(row for row in first if row.subset == "train")
    other = next(row for row in second if row.subset == "train")
    shared = [replace(row, woman=mine.woman) if row.woman == other.woman else row for row in second]
    write_manifest(raw / "Dataset503_Fuji" / MANIFEST, shared)
    folder = combine(raw, 500, [506, 503])
    all_of_it, without_mini_mias, _ = json.loads((folder / "splits_final.json").read_text())
    assert other.case in all_of_it["train"]
    assert other.case not in without_mini_mias["train"] and without_mini_mias["train"]


@pytest.mark.parametrize("count", ["1", "20"])
def test_shares_that_leave_nobody_are_refused(
    raw: Path, count: str, maseg: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("nnUNet_raw", str(raw))
    answer = maseg("combine", "-d", "500", "506", "503", "--cross-validation", count)
    assert answer.status == 2
    assert f"--cross-validation {count}" in answer.err
    assert not (raw / "Dataset500_Maseg").exists()


def test_a_woman_in_two_parts_ends_in_one_subset(raw: Path) -> None:
    first = {row.case: row for row in read_manifest(raw / MINI_MIAS.folder)}
    second = read_manifest(raw / "Dataset503_Fuji")
    # The woman of mdb001 is also one of fuji's, in another subset.
    mine = first["mdb001"]
    other = next(row for row in second if row.subset != mine.subset)
    shared = [replace(row, woman=mine.woman) if row.woman == other.woman else row for row in second]
    write_manifest(raw / "Dataset503_Fuji" / MANIFEST, shared)
    told: list[str] = []
    folder = combine(raw, 500, [506, 503], warn=told.append)
    subsets = {row.subset for row in read_manifest(folder) if row.woman == mine.woman}
    strictest = next(s for s in ("test", "val", "train") if s in (mine.subset, other.subset))
    assert subsets == {strictest}
    assert told and told[0].startswith("1 women")
    tests = {path.name for path in (folder / "labelsTs").iterdir()}
    assert tests == {f"{row.case}.nii.gz" for row in read_manifest(folder) if row.subset == "test"}
    assert all(path.is_file() for path in (folder / "labelsTs").iterdir())


def test_sets_with_and_without_raw_images_test_the_same_women(raw: Path) -> None:
    mine = next(row for row in read_manifest(raw / MINI_MIAS.folder) if row.subset == "train")
    second = read_manifest(raw / "Dataset503_Fuji")
    other = next(row for row in second if row.subset == "test")
    shared = [replace(row, woman=mine.woman, intent="raw") if row.woman == other.woman else row for row in second]
    write_manifest(raw / "Dataset503_Fuji" / MANIFEST, shared)
    for number, raw_images in ((500, False), (510, True)):
        rows = read_manifest(combine(raw, number, [506, 503], raw_images=raw_images))
        assert {row.subset for row in rows if row.woman == mine.woman} == {"test"}


def test_raw_images_must_have_been_converted_alike(raw: Path) -> None:
    description = raw / "Dataset503_Fuji" / "dataset.json"
    content = json.loads(description.read_text())
    content["maseg"]["raw_windows"] = True
    description.write_text(json.dumps(content))
    # Without raw images it makes no difference.
    settings = json.loads((combine(raw, 500, [506, 503]) / "dataset.json").read_text())["maseg"]
    assert (settings["raw_windows"], settings["intents"]) == (False, ["processed"])
    _make_one_raw(raw / "Dataset503_Fuji")
    settings = json.loads((combine(raw, 510, [506, 503], raw_images=True) / "dataset.json").read_text())["maseg"]
    assert (settings["raw_windows"], settings["intents"]) == (True, ["processed", "raw"])
    _make_one_raw(raw / MINI_MIAS.folder)
    with pytest.raises(DatasetError, match="the parts differ in whether raw images have their windows"):
        combine(raw, 510, [506, 503], raw_images=True)


def _make_one_raw(folder: Path) -> None:
    first, *others = read_manifest(folder)
    write_manifest(folder / MANIFEST, [replace(first, intent="raw"), *others])


def test_sources_are_renumbered_with_their_paths(raw: Path) -> None:
    folder = combine(raw, 500, [506, 503])
    numbers = [row.source for row in read_manifest(folder)]
    assert sorted(numbers) == list(range(1, 49))
    assert (folder / "sources.csv").stat().st_mode & 0o077 == 0
    assert len((folder / "sources.csv").read_text().splitlines()) == 49


def test_again_changes_nothing_and_what_left_is_unlinked(raw: Path) -> None:
    folder = combine(raw, 500, [506, 503])
    when = {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}
    combine(raw, 500, [506, 503])
    assert {path: path.lstat().st_mtime_ns for path in folder.rglob("*")} == when
    combine(raw, 500, [506])
    assert len(list((folder / "imagesTs").iterdir())) == 6


def test_table_2(raw: Path) -> None:
    folder = combine(raw, 500, [506, 503])
    table = json.loads((folder / "report.json").read_text())
    assert table["mini_mias"] == {
        "train": {"women": 6, "images": 12},
        "val": {"women": 3, "images": 6},
        "test": {"women": 3, "images": 6},
    }
    assert table["total"]["train"] == {"women": 12, "images": 24}


def test_bad_parts(raw: Path, films: Path) -> None:
    with pytest.raises(DatasetError, match="no Dataset501"):
        combine(raw, 500, [501, 506])
    with pytest.raises(UsageError, match="once"):
        combine(raw, 500, [506, 506])
    coarse = ConversionSettings(spacing=0.8)
    convert_dataset(films_request(films, raw / "Dataset507_Coarse", settings=coarse))
    with pytest.raises(DatasetError, match="spacings"):
        combine(raw, 500, [506, 507])
    rename(raw / "Dataset503_Fuji", "fuji", "mdb", "fuji")
    shutil.copytree(raw / "Dataset503_Fuji", raw / "Dataset504_Fuji")
    rename(raw / "Dataset504_Fuji", "fuji", "other", "fuji")
    with pytest.raises(DatasetError, match="several parts are of --name fuji"):
        combine(raw, 500, [503, 504])
    with pytest.raises(DatasetError, match="case mdb"):
        combine(raw, 500, [506, 503])
    for damaged in ("[]", '{"maseg": 3}', "null"):
        (raw / "Dataset503_Fuji" / "dataset.json").write_text(damaged)
        with pytest.raises(DatasetError, match="not converted to its end"):
            combine(raw, 500, [506, 503])
    (raw / "Dataset503_Fuji" / "dataset.json").unlink()
    with pytest.raises(DatasetError, match="not converted to its end"):
        combine(raw, 500, [506, 503])
    assert not (raw / "Dataset500_Maseg").exists()


def test_raw_images_join_only_when_asked(raw: Path) -> None:
    folder = raw / "Dataset503_Fuji"
    rows = read_manifest(folder)
    write_manifest(folder / MANIFEST, [replace(rows[0], intent="raw"), *rows[1:]])
    assert len(read_manifest(combine(raw, 500, [506, 503]))) == 47
    with_raw = combine(raw, 510, [506, 503], raw_images=True)
    assert with_raw.name == "Dataset510_MasegRaw"
    assert len(read_manifest(with_raw)) == 48


def test_a_folder_that_is_not_ours_is_left_alone(raw: Path) -> None:
    write_json(raw / "Dataset500_Maseg" / "dataset.json", {})
    with pytest.raises(UsageError, match="not made by combine"):
        combine(raw, 500, [506, 503])


def test_command(raw: Path, maseg: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_raw", str(raw))
    assert maseg("combine", "-d", 500, 506, 503).status == 0
    assert maseg("combine", "-d", 500, 506, 599).status == 1
    assert maseg("combine", "-d", 500, 506, "--name", "../x").status == 2


def test_a_number_in_use_is_refused(raw: Path) -> None:
    (raw / "Dataset500_Other").mkdir()
    with pytest.raises(UsageError, match="Dataset500_Other has the number 500 already"):
        combine(raw, 500, [503, 506])

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from maseg_nnunet.dataset.folders import SPLITS, VOI_LUTS
from maseg_nnunet.dataset.folds import fetch, read_fold
from maseg_nnunet.dataset.manifest import MANIFEST, ManifestRow, read_manifest, write_manifest
from maseg_nnunet.errors import DatasetError

ROW = ManifestRow(
    "", "train", "", "", "MLO", "L", "processed", "x", "x", "", 0, "", "", 0.1, 0.1, "", 100, 100, 0.4
)  # fmt: skip
WOMEN = {"a1": "a", "a2": "a", "b1": "b", "b2": "b", "c1": "c"}


def write(folder: Path, splits: object, women: dict[str, str] = WOMEN) -> None:
    (folder / SPLITS).write_text(json.dumps(splits))
    write_manifest(folder / MANIFEST, [replace(ROW, case=case, woman=woman) for case, woman in women.items()])


def test_reads_the_fold(tmp_path: Path) -> None:
    write(tmp_path, [{"train": ["a1", "a2"], "val": ["b1"]}, {"train": ["c1"], "val": ["b2", "a1"]}])
    assert read_fold(tmp_path, 1) == (["c1"], ["b2", "a1"])


@pytest.mark.parametrize(
    ("splits", "fold", "message"),
    [
        ([{"train": ["a1"], "val": ["b1"]}], 1, "folds 0 to 0, not 1"),
        ([{"train": ["a1"], "val": ["b1"]}], -1, "not -1"),
        ([{"train": ["a1"], "val": []}], 0, "1 training and 0 validation"),
        ([{"train": ["a1", "b1"], "val": ["b1"]}], 0, "trains and validates on b1"),
        ([{"train": ["a1", "b1"], "val": ["c1", "b2"]}], 0, "1 women on both sides, with the cases b1, b2"),
        ([{"train": ["a1", "z9"], "val": ["c1"]}], 0, "missing from .*manifest.csv, z9"),
        ({"train": []}, 0, "not a list of folds"),
        ([{"train": ["a1"]}], 0, "not a list of folds"),
        (7, 0, "not a list of folds"),
    ],
)
def test_refuses_what_would_leak(tmp_path: Path, splits: object, fold: int, message: str) -> None:
    write(tmp_path, splits)
    with pytest.raises(DatasetError, match=message):
        read_fold(tmp_path, fold)


def test_refuses_to_train_on_a_woman_who_is_to_be_tested(tmp_path: Path) -> None:
    write(tmp_path, [{"train": ["a1"], "val": ["b1"]}])
    rows = [replace(row, subset="test") if row.case == "b2" else row for row in read_manifest(tmp_path / MANIFEST)]
    write_manifest(tmp_path / MANIFEST, rows)
    with pytest.raises(DatasetError, match="who are to be tested, with the cases b1"):
        read_fold(tmp_path, 0)


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="maseg plan"):
        read_fold(tmp_path, 0)


def test_warns_where_women_can_not_be_checked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, [{"train": ["a1"], "val": ["b1"]}])
    (tmp_path / MANIFEST).unlink()
    with caplog.at_level(logging.WARNING):
        assert read_fold(tmp_path, 0) == (["a1"], ["b1"])
    assert "no manifest.csv" in caplog.text


def test_fetches_only_what_is_missing(tmp_path: Path) -> None:
    raw, folder = tmp_path / "raw", tmp_path / "preprocessed"
    raw.mkdir()
    folder.mkdir()
    for name in (SPLITS, VOI_LUTS):
        (raw / name).write_text("new")
    (folder / SPLITS).write_text("my own")
    fetch(folder, raw)
    fetch(folder, None)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {SPLITS: "my own", VOI_LUTS: "new"}


@pytest.mark.parametrize("name", [MANIFEST, VOI_LUTS])
def test_a_set_that_was_converted_anew_must_be_planned_anew(name: str, tmp_path: Path) -> None:
    for folder in ("raw", "preprocessed"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(folder)
    with pytest.raises(DatasetError, match="run `maseg plan`"):
        fetch(tmp_path / "preprocessed", tmp_path / "raw")


def test_leaves_out_cases_whose_muscle_is_not_to_be_learned(tmp_path: Path) -> None:
    write(tmp_path, [{"train": ["a1", "a2"], "val": ["b1", "b2"]}])
    rows = [replace(row, quality="exclude" if row.case in ("a2", "b1") else "minor") for row in read_manifest(tmp_path)]
    write_manifest(tmp_path / MANIFEST, rows)
    assert read_fold(tmp_path, 0) == (["a1"], ["b2"])

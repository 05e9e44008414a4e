"""Conversion as a whole, on films that look like mini-MIAS: what is written, and what a second run does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import SimpleITK

from maseg_nnunet.dataset.manifest import read_manifest
from maseg_nnunet.dataset_conversion import convert_dataset as convert_module
from maseg_nnunet.dataset_conversion.convert_case import ConversionSettings, ConvertTask
from maseg_nnunet.dataset_conversion.convert_dataset import Request, convert_dataset
from maseg_nnunet.dataset_conversion.journal import JOURNAL
from maseg_nnunet.errors import OutputError, Reason, RefusedError, UsageError
from maseg_nnunet.mammogram import Mammogram
from tests.dataset_conversion.helpers import MINI_MIAS, contents, films_request, stamps


def test_nnunet_finds_what_it_needs(converted: Path) -> None:
    description = json.loads((converted / "dataset.json").read_text())
    assert description["labels"] == {"background": 0, "breast": 1, "pectoral_muscle": 2}
    assert description["channel_names"] == {"0": "noNorm"}
    assert description["numTraining"] == len(list((converted / "imagesTr").iterdir()))
    assert len(list((converted / "imagesTr").iterdir())) + len(list((converted / "imagesTs").iterdir())) == 24
    for place in ("Tr", "Ts"):
        images = {path.name.removesuffix("_0000.nii.gz") for path in (converted / f"images{place}").iterdir()}
        assert images == {path.name.removesuffix(".nii.gz") for path in (converted / f"labels{place}").iterdir()}


def test_manifest(converted: Path) -> None:
    rows = {row.case: row for row in read_manifest(converted)}
    assert len(rows) == 24
    first, second, third = rows["mdb001"], rows["mdb002"], rows["mdb003"]
    assert (first.side, second.side) == ("R", "L")
    assert first.woman == second.woman != third.woman
    assert (first.quality, second.quality, rows["mdb004"].quality) == ("ok", "exclude", "")
    assert (first.background_tissue, first.abnormality, third.abnormality) == ("G", "CIRC-B", "CALC-M MISC-B")
    assert (first.view, first.intent, first.spacing_row, first.rows, first.columns) == ("MLO", "film", 0.2, 96, 80)


def test_no_woman_is_in_two_subsets(converted: Path) -> None:
    subsets: dict[str, set[str]] = {}
    for row in read_manifest(converted):
        subsets.setdefault(row.woman, set()).add(row.subset)
    assert all(len(found) == 1 for found in subsets.values())
    folds = json.loads((converted / "splits_final.json").read_text())
    assert len(folds) == 1
    assert not set(folds[0]["train"]) & set(folds[0]["val"])
    counts = {s: sum(row.subset == s for row in read_manifest(converted)) for s in ("train", "val", "test")}
    assert counts == {"test": 6, "val": 6, "train": 12}


def test_a_second_run_writes_nothing(converted: Path, films: Path) -> None:
    before, when = contents(converted), stamps(converted)
    convert_dataset(films_request(films, converted))
    assert contents(converted) == before
    files = {str(converted / name) for name in before if name != ".journal.jsonl"}
    assert {path: when[path] for path in files} == {path: stamps(converted)[path] for path in files}


def test_two_workers_give_the_same_bytes(converted: Path, films: Path, tmp_path: Path) -> None:
    convert_dataset(films_request(films, tmp_path / MINI_MIAS.folder, workers=2))
    assert contents(tmp_path / MINI_MIAS.folder) == contents(converted)


def test_another_seed_draws_other_women(converted: Path, films: Path, tmp_path: Path) -> None:
    convert_dataset(films_request(films, tmp_path / "other", seed=1))
    assert {r.case: r.subset for r in read_manifest(tmp_path / "other")} != {
        r.case: r.subset for r in read_manifest(converted)
    }


def test_without_masks_the_films_are_exams_to_be_predicted(films: Path, tmp_path: Path) -> None:
    convert_dataset(Request(MINI_MIAS, films / "films", tmp_path / "exams"))
    assert len(list((tmp_path / "exams").glob("mdb*_0000.nii.gz"))) == 24
    assert {row.subset for row in read_manifest(tmp_path / "exams")} == {"predict"}
    assert not (tmp_path / "exams" / "dataset.json").exists()


def test_other_settings_are_not_mixed_into_one_folder(films: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    convert_dataset(films_request(films, folder))
    with pytest.raises(UsageError, match="--overwrite"):
        convert_dataset(films_request(films, folder, settings=ConversionSettings(spacing=0.8)))
    convert_dataset(films_request(films, folder, settings=ConversionSettings(spacing=0.8), overwrite=True))
    assert {row.target_spacing for row in read_manifest(folder)} == {0.8}
    assert SimpleITK.ReadImage(str(next((folder / "imagesTr").iterdir()))).GetSpacing() == pytest.approx((0.8, 0.8))


def test_of_two_conversions_into_one_folder_one_is_told(films: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    lines = ["import sys", "from pathlib import Path", "from maseg_nnunet.files import locked",
             f"with locked(Path({str(folder)!r}) / '.lock'):", "    print('held', flush=True)",
             "    sys.stdin.read()"]  # fmt: skip
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", "\n".join(lines)], **pipes) as other:
        assert other.stdout is not None and other.stdout.readline().strip() == b"held"
        with pytest.raises(OutputError, match="another process is at work in"):
            convert_dataset(films_request(films, folder))
        assert [path.name for path in folder.iterdir()] == [".lock"]
        other.kill()
    convert_dataset(films_request(films, folder))
    assert (folder / "dataset.json").is_file()


def test_settings_are_compared_again_once_the_folder_is_locked(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    real = convert_module._select

    def slow(*arguments: Any) -> Any:
        monkeypatch.setattr(convert_module, "_select", real)
        convert_dataset(films_request(films, folder))  # another run is faster
        return real(*arguments)

    monkeypatch.setattr(convert_module, "_select", slow)
    with pytest.raises(UsageError, match="other settings"):
        convert_dataset(films_request(films, folder, settings=ConversionSettings(spacing=0.8)))
    assert {row.target_spacing for row in read_manifest(folder)} == {0.4}


def test_a_folder_with_other_files_is_left_alone(films: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="did not write"):
        convert_dataset(films_request(films, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_progress_is_told(films: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    convert_dataset(films_request(films, tmp_path / "out"), lambda *step: seen.append(step))
    assert seen[-1] == ("converting", 24, 24)
    assert JOURNAL in {path.name for path in (tmp_path / "out").iterdir()}


def test_what_left_the_input_leaves_the_output(films: Path, tmp_path: Path) -> None:
    shutil.copytree(films, tmp_path / "in")
    convert_dataset(films_request(tmp_path / "in", tmp_path / "out"))
    (tmp_path / "in" / "films" / "mdb024.pgm").unlink()
    convert_dataset(films_request(tmp_path / "in", tmp_path / "out"))
    assert len(read_manifest(tmp_path / "out")) == 23
    assert len(list((tmp_path / "out").rglob("mdb024*"))) == 0


def test_an_exam_that_left_the_input_is_not_predicted_and_masks_beside_the_others_stay(
    films: Path, tmp_path: Path
) -> None:
    shutil.copytree(films / "films", tmp_path / "in")
    exams = Request(MINI_MIAS, tmp_path / "in", tmp_path / "out")
    convert_dataset(exams)
    (tmp_path / "in" / "mdb024.pgm").unlink()
    (tmp_path / "out" / "mdb001.nii.gz").write_bytes(b"a mask of nnU-Net's")
    convert_dataset(exams)
    images = {path.name for path in (tmp_path / "out").glob("*_0000.nii.gz")}
    assert images == {f"{row.case}_0000.nii.gz" for row in read_manifest(tmp_path / "out")}
    assert len(images) == 23
    assert (tmp_path / "out" / "mdb001.nii.gz").is_file()


def test_what_was_rejected_is_tried_again(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from maseg_nnunet.dataset_conversion import convert_case as convert

    whole = convert.read

    def closed(task: ConvertTask) -> Mammogram:
        if task.selected.case == "mdb003":
            raise RefusedError(Reason.UNREADABLE, "Permission denied")
        return whole(task)

    with monkeypatch.context() as patched:
        patched.setattr(convert, "read", closed)
        assert convert_dataset(films_request(films, tmp_path / "out"))["rejected"] == {"unreadable": 1}
    assert convert_dataset(films_request(films, tmp_path / "out"))["rejected"] == {}

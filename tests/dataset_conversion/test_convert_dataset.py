"""Conversion as a whole, on films that look like mini-MIAS: what is written, again, interrupted, and from bad input."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import SimpleITK

from maseg_nnunet.dataset.manifest import read_manifest
from maseg_nnunet.dataset_conversion import convert_dataset as conversion
from maseg_nnunet.dataset_conversion.convert_case import ConversionSettings, ConvertTask, black_margin
from maseg_nnunet.dataset_conversion.convert_dataset import Request, convert_dataset
from maseg_nnunet.dataset_conversion.datasets import REGISTRY
from maseg_nnunet.errors import DatasetError, Reason, RefusedError, UsageError
from maseg_nnunet.mammogram import Mammogram
from tests.commands import Run, stumbling

MINI_MIAS = REGISTRY["mini_mias"]


def request(films: Path, folder: Path, **options: object) -> Request:
    return Request(MINI_MIAS, films / "films", folder, masks=films / "masks", **options)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def stamps(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def converted(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / MINI_MIAS.folder
    convert_dataset(request(films, folder))
    return folder


def test_nnunet_finds_what_it_needs(converted: Path) -> None:
    description = json.loads((converted / "dataset.json").read_text())
    assert description["labels"] == {"background": 0, "breast": 1, "pectoral_muscle": 2}
    assert description["channel_names"] == {"0": "noNorm"}
    assert description["numTraining"] == len(list((converted / "imagesTr").iterdir()))
    assert len(list((converted / "imagesTr").iterdir())) + len(list((converted / "imagesTs").iterdir())) == 24
    for place in ("Tr", "Ts"):
        images = {path.name.removesuffix("_0000.nii.gz") for path in (converted / f"images{place}").iterdir()}
        assert images == {path.name.removesuffix(".nii.gz") for path in (converted / f"labels{place}").iterdir()}


def test_images_are_resampled_stored_values_in_voi_units(converted: Path, films: Path) -> None:
    path = next((converted / "imagesTr").iterdir())
    image = SimpleITK.ReadImage(str(path))
    assert image.GetSpacing() == pytest.approx((0.4, 0.4))
    assert image.GetPixelID() == SimpleITK.sitkFloat32
    source = cv2.imread(str(films / "films" / f"{path.name[:6]}.pgm"), cv2.IMREAD_UNCHANGED).astype(float)
    # 0.2 mm to 0.4 mm: each new pixel lies amid four old ones.
    halved = (source[::2, ::2] + source[1::2, ::2] + source[::2, 1::2] + source[1::2, 1::2]) / 4
    expected = (halved - source.min()) / (source.max() - source.min())
    np.testing.assert_allclose(SimpleITK.GetArrayFromImage(image), expected, atol=1e-6)


def test_labels_keep_their_values_and_their_place(converted: Path, films: Path) -> None:
    path = next((converted / "labelsTr").iterdir())
    label = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    mask = cv2.imread(str(films / "masks" / f"{path.name[:6]}.png"), cv2.IMREAD_UNCHANGED)
    assert label.dtype == np.uint8
    assert set(np.unique(label)) == {0, 1, 2}
    np.testing.assert_array_equal(label, mask[1::2, 1::2])


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
    convert_dataset(request(films, converted))
    assert contents(converted) == before
    files = {str(converted / name) for name in before if name != ".journal.jsonl"}
    assert {path: when[path] for path in files} == {path: stamps(converted)[path] for path in files}


def test_two_workers_give_the_same_bytes(converted: Path, films: Path, tmp_path: Path) -> None:
    convert_dataset(request(films, tmp_path / MINI_MIAS.folder, workers=2))
    assert contents(tmp_path / MINI_MIAS.folder) == contents(converted)


def test_another_seed_draws_other_women(converted: Path, films: Path, tmp_path: Path) -> None:
    convert_dataset(request(films, tmp_path / "other", seed=1))
    assert {r.case: r.subset for r in read_manifest(tmp_path / "other")} != {
        r.case: r.subset for r in read_manifest(converted)
    }


def test_a_killed_run_goes_on_to_the_same_bytes(converted: Path, films: Path, tmp_path: Path) -> None:
    folder = tmp_path / MINI_MIAS.folder
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from maseg_nnunet.dataset_conversion import convert_dataset\n"
        "from maseg_nnunet.dataset_conversion.datasets import REGISTRY\n"
        "def stop(stage, done, total):\n"
        "    if stage == 'converting' and done == 11: os.kill(os.getpid(), signal.SIGKILL)\n"
        "films, folder = map(Path, sys.argv[1:])\n"
        "request = convert_dataset.Request(REGISTRY['mini_mias'], films / 'films', folder, masks=films / 'masks')\n"
        "convert_dataset.convert_dataset(request, stop)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(films), str(folder)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (folder / "dataset.json").exists()
    # As if it had been killed while it wrote a case: nnU-Net would take it for one.
    (folder / "imagesTr" / ".tmp-abcdefgh.nii.gz").write_bytes(b"half")
    seen: list[tuple[str, int]] = []
    convert_dataset(request(films, folder), lambda stage, done, total: seen.append((stage, done)))
    assert ("converting", 11) in seen
    assert ("converting", 10) not in seen
    assert contents(folder) == contents(converted)


@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX")
def test_a_terminated_run_takes_its_workers_with_it(films: Path, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("convert_vendor")), "--name", "mini_mias", "--workers", "2"]
    command += ["--input", str(films / "films"), "--masks", str(films / "masks"), "--output", str(tmp_path)]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        while not list(tmp_path.glob("*/.journal.jsonl")) and process.poll() is None:
            time.sleep(0.01)
        process.terminate()
        # The workers hold its stderr too: it ends when the last of them has.
        assert "interrupted" in process.communicate(timeout=60)[1]
    assert process.returncode == 130


def _unlisted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder of that name can be listed; root may list all, so permissions would not do."""
    scandir = os.scandir

    def failing(path: Path) -> Any:
        if Path(path).name == name:
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)


def test_a_folder_that_can_t_be_listed_is_told(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(films, copy)
    (copy / "films" / "second").mkdir()
    (copy / "films" / "mdb003.pgm").rename(copy / "films" / "second" / "mdb003.pgm")
    _unlisted("second", monkeypatch)
    assert convert_dataset(request(copy, tmp_path / "out"))["found"]["images"] == 23
    assert "second can't be listed" in caplog.text


@pytest.mark.parametrize("which", ["films", "masks"])
def test_a_whole_input_that_can_t_be_listed_costs_nothing(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    convert_dataset(request(films, tmp_path / "out"))
    before = contents(tmp_path / "out")
    _unlisted(which, monkeypatch)
    with pytest.raises(OSError, match="Permission denied"):
        convert_dataset(request(films, tmp_path / "out"))
    assert contents(tmp_path / "out") == before


def test_a_full_disk_ends_the_run_and_leaves_no_half_case(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / MINI_MIAS.folder
    room = [10]
    write_bytes = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if room[0] == 0:
            write_bytes(self, data[: len(data) // 2])
            raise OSError(28, "No space left on device", str(self))
        room[0] -= 1
        return write_bytes(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space"):
            convert_dataset(request(films, folder))
    for path in folder.rglob("*.nii.gz"):
        SimpleITK.ReadImage(str(path))
    assert not list(folder.rglob(".tmp-*"))
    convert_dataset(request(films, folder))
    assert len(read_manifest(folder)) == 24


def test_what_left_the_input_leaves_the_output(films: Path, tmp_path: Path) -> None:
    shutil.copytree(films, tmp_path / "in")
    convert_dataset(request(tmp_path / "in", tmp_path / "out"))
    (tmp_path / "in" / "films" / "mdb024.pgm").unlink()
    convert_dataset(request(tmp_path / "in", tmp_path / "out"))
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


@pytest.fixture
def spoiled(films: Path, tmp_path: Path) -> Path:
    """Five ways in which a film or its mask can be bad."""
    base = tmp_path / "spoiled"
    shutil.copytree(films, base)
    mask = cv2.imread(str(base / "masks" / "mdb001.png"), cv2.IMREAD_UNCHANGED)
    mask[5, 5] = 3
    cv2.imwrite(str(base / "masks" / "mdb001.png"), mask)
    cv2.imwrite(str(base / "masks" / "mdb002.png"), mask[:-1] % 3)
    (base / "masks" / "mdb003.png").unlink()
    (base / "films" / "mdb004.pgm").write_bytes(b"P5\n80 96\n255\n" + bytes(100))
    (base / "films" / "mdb005.pgm").write_bytes(b"P5\n80 96\n255\n" + bytes(80 * 96))
    (base / "masks" / "mdb006.png").write_bytes(b"no picture")
    return base


def test_bad_files_are_rejected_each_with_its_reason_and_the_rest_goes_on(spoiled: Path, tmp_path: Path) -> None:
    report = convert_dataset(request(spoiled, tmp_path / "out"))
    with (tmp_path / "out" / "rejected.csv").open(newline="") as handle:
        rejected = {row["case"]: row["reason"] for row in csv.DictReader(handle)}
    assert rejected == {
        "mdb001": "mask with another label",
        "mdb002": "mask of another size",
        "mdb003": "mask missing",
        "mdb004": "truncated",
        "mdb005": "one constant value",
        "mdb006": "mask unreadable",
    }
    assert report["found"]["images"] == 18
    assert len(list((tmp_path / "out").rglob("mdb00[1-6]*"))) == 0
    assert "spoiled" not in (tmp_path / "out" / "rejected.csv").read_text()


def test_what_was_rejected_is_tried_again(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from maseg_nnunet.dataset_conversion import convert_case as convert

    whole = convert.read

    def closed(task: ConvertTask) -> Mammogram:
        if task.selected.case == "mdb003":
            raise RefusedError(Reason.UNREADABLE, "Permission denied")
        return whole(task)

    with monkeypatch.context() as patched:
        patched.setattr(convert, "read", closed)
        assert convert_dataset(request(films, tmp_path / "out"))["rejected"] == {"unreadable": 1}
    assert convert_dataset(request(films, tmp_path / "out"))["rejected"] == {}


def test_masks_with_other_values_are_mapped(films: Path, tmp_path: Path) -> None:
    shutil.copytree(films, tmp_path / "in")
    for path in (tmp_path / "in" / "masks").iterdir():
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), np.choose(mask, [0, 255, 128]).astype(np.uint8))
    settings = ConversionSettings(labels={0: 0, 255: 1, 128: 2})
    report = convert_dataset(request(tmp_path / "in", tmp_path / "out", settings=settings))
    assert report["found"]["images"] == 24


def test_masks_that_spread_beyond_the_film_end_with_it(films: Path, tmp_path: Path) -> None:
    shutil.copytree(films, tmp_path / "in")
    for path in (tmp_path / "in" / "films").glob("*.pgm"):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        wall = slice(-10, None) if int(path.stem[3:]) % 2 else slice(0, 10)
        image[:, wall] = 0  # the scanner's bed, where the mask has muscle and breast
        image[44:50, 38:42] = 0  # dark within the breast
        cv2.imwrite(str(path), image)
    areas = {}
    for trim in (False, True):
        folder = tmp_path / f"trimmed {trim}"
        report = convert_dataset(request(tmp_path / "in", folder, settings=ConversionSettings(trim_masks=trim)))
        assert report["settings"]["trim_masks"] is trim
        label = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(next((folder / "labelsTr").glob("mdb*")))))
        areas[trim] = (
            np.bincount(label.ravel()),
            label[20:27, 17:23],
            (label[:, :5] > 0).any(),
            (label[:, -5:] > 0).any(),
        )
    assert (areas[True][0] < areas[False][0])[1:].all()
    assert (areas[True][1] == 1).all() and areas[True][2:] == (False, False)


def test_the_black_margin_is_what_reaches_the_edge() -> None:
    units = np.full((6, 8), 0.5)
    units[:, :2] = units[0] = units[3, 4] = units[4, 3] = -0.2
    units[2, 2], units[5, 5] = -0.2, -0.1
    margin = np.zeros((6, 8), bool)
    margin[:, :2] = margin[0] = margin[2, 2] = True
    np.testing.assert_array_equal(black_margin(units), margin)
    assert not black_margin(np.array([[1.0, 1, 1], [1, 0, 1], [1, 1, 1]])).any()


def test_without_masks_the_films_are_exams_to_be_predicted(films: Path, tmp_path: Path) -> None:
    convert_dataset(Request(MINI_MIAS, films / "films", tmp_path / "exams"))
    assert len(list((tmp_path / "exams").glob("mdb*_0000.nii.gz"))) == 24
    assert {row.subset for row in read_manifest(tmp_path / "exams")} == {"predict"}
    assert not (tmp_path / "exams" / "dataset.json").exists()


def test_other_settings_are_not_mixed_into_one_folder(films: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    convert_dataset(request(films, folder))
    with pytest.raises(UsageError, match="--overwrite"):
        convert_dataset(request(films, folder, settings=ConversionSettings(spacing=0.8)))
    convert_dataset(request(films, folder, settings=ConversionSettings(spacing=0.8), overwrite=True))
    assert {row.target_spacing for row in read_manifest(folder)} == {0.8}
    assert SimpleITK.ReadImage(str(next((folder / "imagesTr").iterdir()))).GetSpacing() == pytest.approx((0.8, 0.8))


def test_an_interrupted_overwrite_is_no_data_set_and_goes_on(films: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    convert_dataset(request(films, folder))
    again = request(films, folder, settings=ConversionSettings(spacing=0.8), overwrite=True)
    seen: list[int] = []

    def stop(stage: str, done: int, total: int | None) -> None:
        if stage == "converting" and done == 5 and not seen:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_dataset(again, stop)
    assert not (folder / "dataset.json").exists()
    convert_dataset(again, lambda stage, done, total: seen.append(done) if stage == "converting" else None)
    assert seen[0] == 5
    assert {row.target_spacing for row in read_manifest(folder)} == {0.8}
    convert_dataset(again, lambda stage, done, total: seen.append(done) if stage == "converting" else None)
    assert seen.count(0) == 1  # finished, it begins anew


def test_a_folder_with_other_files_is_left_alone(films: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="did not write"):
        convert_dataset(request(films, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_split_file(films: Path, tmp_path: Path) -> None:
    lines = [f"mdb{n:03d},{'test' if n <= 4 else 'val' if n <= 8 else 'train'}" for n in range(1, 25)]
    file = tmp_path / "split.csv"
    file.write_text("image,subset\n" + "\n".join(lines) + "\n")
    convert_dataset(request(films, tmp_path / "out", split_file=file))
    rows = read_manifest(tmp_path / "out")
    assert sorted(r.case for r in rows if r.subset == "test") == ["mdb001", "mdb002", "mdb003", "mdb004"]
    file.write_text("image,subset\n" + "\n".join(lines).replace("mdb001,test", "mdb001,train") + "\n")
    with pytest.raises(DatasetError, match="1 have several"):
        convert_dataset(request(films, tmp_path / "torn", split_file=file))
    file.write_text("image,subset\n" + "\n".join(lines) + "\na/mdb001.pgm,train\n")
    with pytest.raises(DatasetError, match="entry 25: an entry before it gives the same name another subset"):
        convert_dataset(request(films, tmp_path / "torn", split_file=file))
    file.write_bytes(b"image,subset\nM\xe4rz,train\n")
    for options in ({"split_file": file}, {"masks": file}):
        with pytest.raises(DatasetError, match="no CSV in UTF-8"):
            convert_dataset(replace(request(films, tmp_path / "torn"), **options))
    assert not (tmp_path / "torn").exists()


def test_command(films: Path, tmp_path: Path, convert_vendor: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(films)
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    done = convert_vendor("--name", "mini_mias", "--input", "films", "--masks", "masks", "--workers", 1)
    assert done.status == 0, done.err
    assert "322" in done.out  # what a complete copy holds
    assert (tmp_path / "raw" / "Dataset506_MiniMias" / "dataset.json").is_file()
    with (tmp_path / "raw" / "Dataset506_MiniMias" / "sources.csv").open(newline="") as handle:
        assert all(Path(row["path"]).is_absolute() and Path(row["path"]).is_file() for row in csv.DictReader(handle))


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--name", "mini_mias", "--input", "nowhere", "--masks", "m", "--output", "o"), 1, "nowhere does not exist"),
        (("--name", "mamografo", "--input", "films"), 2, "ims_giotto"),
        (("--name", "mini_mias", "--input", "films"), 2, "--output"),
        (("--name", "mini_mias", "--input", "films", "--masks", "none", "--output", "o"), 1, "neither a folder"),
        (("--name", "fuji", "--input", "films", "--masks", "masks", "--output", "o"), 1, "not DICOM"),
        (("--name", "mini_mias", "--input", "films", "--output", "o", "--labels", "breast=x"), 2, "breast=VALUE"),
        (("--name", "mini_mias", "--input", "films", "--output", "o", "--labels", "breast=²"), 2, "breast=VALUE"),
        (("--name", "mini_mias", "--input", "films", "--output", "o", "--labels", "breast=1,pectoral=1"), 2, "twice"),
        (("--name", "mini_mias", "--input", "films", "--output", "o", "--key-file", "k", "--dataset-id", 0), 2, "999"),
    ],
)
def test_bad_commands_get_one_line(
    films: Path,
    tmp_path: Path,
    convert_vendor: Run,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[object, ...],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(films)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    before = contents(films)
    answer = convert_vendor(*arguments)
    assert answer.status == status
    said = [line for line in answer.err.splitlines() if line.lower().startswith("error: ")]
    assert len(said) == 1
    assert message in said[0]
    assert "Traceback" not in answer.err
    assert contents(films) == before


def test_progress_is_told(films: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    convert_dataset(request(films, tmp_path / "out"), lambda *step: seen.append(step))
    assert seen[-1] == ("converting", 24, 24)
    assert conversion.JOURNAL in {path.name for path in (tmp_path / "out").iterdir()}


def test_a_file_nobody_thought_of_is_named_and_the_rest_goes_on(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import maseg_nnunet.readers

    read = stumbling(maseg_nnunet.readers.read_mammogram, "mdb007.pgm")
    monkeypatch.setattr(maseg_nnunet.readers, "read_mammogram", read)
    report = convert_dataset(request(films, tmp_path / "out"))
    assert report["found"]["images"] == 23
    rejected = (tmp_path / "out" / "rejected.csv").read_text()
    assert 'mdb007,unreadable,"unexpected IndexError' in rejected
    assert "secret" not in rejected
    # It may have been memory: tried again, while what is wrong with the file itself is not.
    monkeypatch.undo()
    assert convert_dataset(request(films, tmp_path / "out"))["found"]["images"] == 24

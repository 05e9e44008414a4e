"""Conversions that are killed or interrupted, or that meet a full disk or a folder that can't be listed."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import SimpleITK

from maseg_nnunet.dataset.manifest import read_manifest
from maseg_nnunet.dataset_conversion.convert_case import ConversionSettings
from maseg_nnunet.dataset_conversion.convert_dataset import convert_dataset
from tests.dataset_conversion.helpers import MINI_MIAS, contents, films_request


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
    # As if the run had been killed while it wrote a case; nnU-Net would mistake this file for a case.
    (folder / "imagesTr" / ".tmp-abcdefgh.nii.gz").write_bytes(b"half")
    seen: list[tuple[str, int]] = []
    convert_dataset(films_request(films, folder), lambda stage, done, total: seen.append((stage, done)))
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
        # The workers inherit its stderr, which closes only when the last of them has ended.
        assert "interrupted" in process.communicate(timeout=60)[1]
    assert process.returncode == 130


def test_an_interrupted_overwrite_is_no_data_set_and_goes_on(films: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    convert_dataset(films_request(films, folder))
    again = films_request(films, folder, settings=ConversionSettings(spacing=0.8), overwrite=True)
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
    assert seen.count(0) == 1  # the run before had finished, so this one starts again


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
            convert_dataset(films_request(films, folder))
    for path in folder.rglob("*.nii.gz"):
        SimpleITK.ReadImage(str(path))
    assert not list(folder.rglob(".tmp-*"))
    convert_dataset(films_request(films, folder))
    assert len(read_manifest(folder)) == 24


def _unlisted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make listing any folder of that name fail. Permissions would not do, because root may list every folder."""
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
    assert convert_dataset(films_request(copy, tmp_path / "out"))["found"]["images"] == 23
    assert "second can't be listed" in caplog.text


@pytest.mark.parametrize("which", ["films", "masks"])
def test_a_whole_input_that_can_t_be_listed_costs_nothing(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    convert_dataset(films_request(films, tmp_path / "out"))
    before = contents(tmp_path / "out")
    _unlisted(which, monkeypatch)
    with pytest.raises(OSError, match="Permission denied"):
        convert_dataset(films_request(films, tmp_path / "out"))
    assert contents(tmp_path / "out") == before

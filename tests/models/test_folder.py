"""Model folders and ZIPs: where they are found, incomplete, damaged and malicious ones."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maseg_nnunet.errors import ModelError
from maseg_nnunet.models import folder as model_folder
from maseg_nnunet.models.folder import find_model
from maseg_nnunet.models.model import load_model
from tests.models.helpers import change_checkpoint, checkpoint_path


def test_a_zip_as_nnunet_exports_it_gives_the_same_network(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(model.rglob("*")):
            archive.write(file, Path("Dataset500_Maseg") / file.relative_to(model.parent))
    zipped, plain = load_model(path), load_model(model)
    assert zipped.name == model.name and zipped.digest == plain.digest
    for one, other in zip(zipped.network.parameters(), plain.network.parameters(), strict=True):
        assert torch.equal(one, other)
    before = sorted(tmp_path.rglob("*"))
    load_model(path)
    assert sorted(tmp_path.rglob("*")) == before, "nothing is unpacked"


def test_a_folder_above_the_only_model_will_do(model: Path) -> None:
    assert load_model(model.parent).name == model.name
    shutil.copytree(model, model.parent / "other")
    with pytest.raises(ModelError, match="2 models"):
        load_model(model.parent)


def test_a_stock_checkpoint_with_numpy_scalars_in_its_log_loads(model: Path) -> None:
    change_checkpoint(model, logging={"ema": [np.float64(0.5), np.float32(0.25)]}, _best_ema=np.float64(0.5))
    load_model(model)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("plans.json", "no plans.json"),
        ("dataset.json", "dataset.json is missing"),
        ("fold_0/checkpoint_final.pth", "no fold has a checkpoint_final.pth"),
    ],
)
def test_an_incomplete_folder_is_named_with_what_it_lacks(model: Path, missing: str, message: str) -> None:
    (model / missing).unlink()
    with pytest.raises(ModelError, match=message):
        load_model(model)


def test_something_that_is_no_model_at_all(tmp_path: Path) -> None:
    (tmp_path / "exam.dcm").write_bytes(b"no model")
    for path in (tmp_path / "nowhere", tmp_path / "exam.dcm", tmp_path):
        with pytest.raises(ModelError):
            load_model(path)


def test_folds_are_not_averaged_and_not_guessed(model: Path) -> None:
    (model / "fold_0").rename(model / "fold_3")
    load_model(model)
    shutil.copytree(model / "fold_3", model / "fold_4")
    with pytest.raises(ModelError, match="fold_3, fold_4"):
        load_model(model)
    shutil.copytree(model / "fold_3", model / "fold_0")
    load_model(model)


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("harmed",)


def test_code_in_a_checkpoint_is_not_run(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    change_checkpoint(model, surprise=Harm())
    with pytest.raises(ModelError, match="more than weights"):
        load_model(model)
    checkpoint_path(model).write_bytes(pickle.dumps(Harm()))
    with pytest.raises(ModelError):
        load_model(model)
    assert not (tmp_path / "harmed").exists()


def test_a_damaged_checkpoint_or_json_is_one_line(model: Path) -> None:
    data = checkpoint_path(model).read_bytes()
    for damaged in (data[: len(data) // 2], b"", data[:10] + bytes(200) + data[210:]):
        checkpoint_path(model).write_bytes(damaged)
        with pytest.raises(ModelError):
            load_model(model)
    checkpoint_path(model).write_bytes(data)
    (model / "plans.json").write_text("{")
    with pytest.raises(ModelError, match="not valid JSON"):
        load_model(model)
    (model / "plans.json").write_text("[" * 200_000)
    with pytest.raises(ModelError, match="not valid JSON"):
        load_model(model)


def test_one_flipped_bit_in_a_checkpoint_is_noticed(model: Path) -> None:
    data = checkpoint_path(model).read_bytes()
    load_model(model)
    with zipfile.ZipFile(checkpoint_path(model)) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    for at in (0, largest.file_size // 2, largest.file_size - 1):
        changed = bytearray(data)
        start = data.index(largest.filename.encode(), largest.header_offset) + len(largest.filename)
        start += int.from_bytes(data[largest.header_offset + 28 : largest.header_offset + 30], "little")
        changed[start + at] ^= 4
        checkpoint_path(model).write_bytes(changed)
        with pytest.raises(ModelError, match="damaged"):
            load_model(model)


def test_a_zip_that_unpacks_to_much_more_is_not_read(model: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "model.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(model / "plans.json", "plans.json")
        archive.write(model / "dataset.json", "dataset.json")
        archive.writestr("fold_0/checkpoint_final.pth", bytes(200 << 20))
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(ModelError, match="would unpack to 200 MiB"):
        load_model(bomb)


def test_a_compressed_checkpoint_is_not_unpacked(model: Path) -> None:
    with zipfile.ZipFile(checkpoint_path(model)) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(checkpoint_path(model), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(ModelError, match="damaged"):
        load_model(model)


def test_a_damaged_zip_is_one_line(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(model / "plans.json", "plans.json")
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at : at + 4] = b"XXXX"
    path.write_bytes(data)
    assert zipfile.is_zipfile(path)
    with pytest.raises(ModelError, match="damaged"):
        load_model(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_file_in_a_zip_is_one_line(method: int, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in ("plans.json", "dataset.json", "fold_0/checkpoint_final.pth"):
            archive.write(model / file, file)
        entry = archive.getinfo("fold_0/checkpoint_final.pth")
    data = bytearray(path.read_bytes())
    for at in range(entry.header_offset + 1000, entry.header_offset + 1090):
        data[at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ModelError, match="can't be read"):
        load_model(path)


def test_where_a_model_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_folder, "packaged_models", lambda: [])
    monkeypatch.delenv("MASEG_MODEL", raising=False)
    with pytest.raises(ModelError, match=r"--model .* \$MASEG_MODEL"):
        find_model()
    monkeypatch.setattr(model_folder, "packaged_models", lambda: [tmp_path / "packaged"])
    assert find_model() == tmp_path / "packaged"
    monkeypatch.setenv("MASEG_MODEL", str(tmp_path / "env"))
    with pytest.raises(ModelError, match=r"\$MASEG_MODEL is .*env, which does not exist"):
        find_model()
    (tmp_path / "env").mkdir()
    assert find_model() == tmp_path / "env"
    assert find_model(tmp_path / "given") == tmp_path / "given"

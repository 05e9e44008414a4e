"""Opening models: folders and ZIPs as nnU-Net makes them, incomplete ones, ones of another task, harmful ones."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maseg_nnunet.errors import ModelError
from maseg_nnunet.models import folder as model_folder
from maseg_nnunet.models.folder import find_model, load_model
from tests.tiny_models import write_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "MasegTrainer__threshold__2d")


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def checkpoint_of(model: Path) -> Path:
    return model / "fold_0" / "checkpoint_final.pth"


def change_checkpoint(model: Path, **entries: Any) -> None:
    checkpoint = torch.load(checkpoint_of(model), weights_only=False)
    torch.save({**checkpoint, **entries}, checkpoint_of(model))


def test_a_folder_tells_what_its_images_are_like(model: Path) -> None:
    loaded = load_model(model)
    assert loaded.name == model.name
    assert (loaded.trainer, loaded.plans_name, loaded.configuration) == ("MasegTrainer", "threshold", "2d")
    assert loaded.spacing == loaded.target_spacing == (0.4, 0.4)
    assert loaded.divisor == (2, 2)
    assert loaded.inversion and not loaded.min_max and not loaded.raw_windows
    assert not loaded.network.training
    assert len(loaded.digest) == 64


def test_a_folder_of_images_on_their_own_grid(model: Path) -> None:
    edit(model / "dataset.json", lambda d: d["maseg"].update(target_spacing=0))
    assert load_model(model).target_spacing is None
    edit(model / "dataset.json", lambda d: d["maseg"].update(raw_windows=True))
    assert load_model(model).raw_windows
    edit(model / "dataset.json", lambda d: d.pop("maseg"))
    assert load_model(model).target_spacing == (0.4, 0.4)


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


def test_half_precision_and_the_names_of_parallel_training_load(model: Path) -> None:
    before = load_model(model).network.state_dict()
    weights = {f"module.{name}": value.half() if value.is_floating_point() else value for name, value in before.items()}
    change_checkpoint(model, network_weights=weights)
    after = load_model(model).network.state_dict()
    for name, value in after.items():
        assert value.dtype == before[name].dtype
        torch.testing.assert_close(value, before[name], rtol=1e-3, atol=1e-3)


def test_the_network_of_another_library_gets_a_clamped_input_as_masegtrainer_does(model: Path) -> None:
    kwargs = {
        "n_stages": 2,
        "features_per_stage": [2, 2],
        "conv_op": "torch.nn.modules.conv.Conv2d",
        "kernel_sizes": [[3, 3]] * 2,
        "strides": [[1, 1], [2, 2]],
        "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1],
        "norm_op": "torch.nn.modules.batchnorm.BatchNorm2d",
        "nonlin": "torch.nn.LeakyReLU",
    }
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": kwargs,
        "_kw_requires_import": ["conv_op", "norm_op", "nonlin"],
    }
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    located = {key: model_folder.pydoc.locate(kwargs[key]) for key in architecture["_kw_requires_import"]}
    network = PlainConvUNet(input_channels=1, num_classes=3, deep_supervision=False, **{**kwargs, **located}).eval()
    image = torch.linspace(-1, 2, 64).reshape(1, 1, 8, 8)
    for trainer, is_clamped in (("MasegTrainerFocal", True), ("nnUNetTrainer", False)):
        folder = write_model(model.parent / trainer, network, architecture=architecture, trainer=trainer)
        with torch.inference_mode():
            found = load_model(folder).network(image)
            torch.testing.assert_close(found, network(image.clamp(0, 1) if is_clamped else image))
    assert not torch.equal(network(image), network(image.clamp(0, 1)))


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


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("dataset.json", lambda d: d.update(labels={"background": 0, "liver": 1}), "labels"),
        ("plans.json", lambda p: p["configurations"]["2d"].update(patch_size=[8, 8, 8]), "two-dimensional"),
        (
            "plans.json",
            lambda p: p["configurations"]["2d"].update(normalization_schemes=["ZScoreNormalization"]),
            "ZScoreNormalization",
        ),
        ("plans.json", lambda p: p["configurations"].pop("2d"), "2d"),
        ("plans.json", lambda p: p.clear(), "do not make a model"),
        ("plans.json", lambda p: p["configurations"]["2d"].update(spacing=[0, 0]), "spacings"),
        ("plans.json", lambda p: p["configurations"]["2d"].update(patch_size=[1e999, 64]), "do not make a model"),
        (
            "plans.json",
            lambda p: p["configurations"]["2d"]["architecture"]["arch_kwargs"].update(features_per_stage=[-4]),
            "do not make a model",
        ),
        ("dataset.json", lambda d: d.update(maseg={"target_spacing": float("nan")}), "spacings"),
        ("dataset.json", lambda d: d.clear(), "do not make a model"),
    ],
)
def test_a_model_of_another_kind_is_refused(
    model: Path, file: str, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    edit(model / file, change)
    with pytest.raises(ModelError, match=message):
        load_model(model)


def test_weights_of_another_network_are_refused(model: Path) -> None:
    edit(
        model / "plans.json",
        lambda p: p["configurations"]["2d"]["architecture"]["arch_kwargs"].update(features_per_stage=[4, 4]),
    )
    with pytest.raises(ModelError, match="do not fit the network"):
        load_model(model)


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("harmed",)


def test_code_in_a_checkpoint_is_not_run(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    change_checkpoint(model, surprise=Harm())
    with pytest.raises(ModelError, match="more than weights"):
        load_model(model)
    checkpoint_of(model).write_bytes(pickle.dumps(Harm()))
    with pytest.raises(ModelError):
        load_model(model)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    "name", ["os.system", "torch.nn.modules.module.functools.partial", "maseg_nnunet.network.Path", "builtins.print"]
)
def test_a_plans_file_can_t_name_what_is_no_network(model: Path, name: str) -> None:
    def change(plans: dict[str, Any]) -> None:
        plans["configurations"]["2d"]["architecture"]["network_class_name"] = name

    edit(model / "plans.json", change)
    with pytest.raises(ModelError, match="not a class to build a network of"):
        load_model(model)


def test_a_damaged_checkpoint_or_json_is_one_line(model: Path) -> None:
    data = checkpoint_of(model).read_bytes()
    for damaged in (data[: len(data) // 2], b"", data[:10] + bytes(200) + data[210:]):
        checkpoint_of(model).write_bytes(damaged)
        with pytest.raises(ModelError):
            load_model(model)
    checkpoint_of(model).write_bytes(data)
    (model / "plans.json").write_text("{")
    with pytest.raises(ModelError, match="no JSON"):
        load_model(model)
    (model / "plans.json").write_text("[" * 200_000)
    with pytest.raises(ModelError, match="no JSON"):
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


def test_weights_that_are_not_finite_are_refused(model: Path) -> None:
    checkpoint = torch.load(checkpoint_of(model), weights_only=False)
    name = next(name for name, tensor in checkpoint["network_weights"].items() if tensor.is_floating_point())
    checkpoint["network_weights"][name].view(-1)[0] = torch.nan
    torch.save(checkpoint, checkpoint_of(model))
    with pytest.raises(ModelError, match=f"weights {name} are not finite"):
        load_model(model)


def test_where_a_model_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_folder, "packaged_models", lambda: [])
    monkeypatch.delenv("MASEG_MODEL", raising=False)
    with pytest.raises(ModelError, match=r"--model .* \$MASEG_MODEL"):
        find_model()
    monkeypatch.setenv("MASEG_MODEL", str(tmp_path / "env"))
    assert find_model() == tmp_path / "env"
    monkeypatch.setattr(model_folder, "packaged_models", lambda: [tmp_path / "packaged"])
    assert find_model() == tmp_path / "packaged"
    assert find_model(tmp_path / "given") == tmp_path / "given"

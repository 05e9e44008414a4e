"""Models built from plans and weights: what they expect of an image, and models of other tasks."""

from __future__ import annotations

import pydoc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from maseg_nnunet.errors import ModelError
from maseg_nnunet.models.model import load_model
from tests.models.helpers import change_checkpoint, checkpoint_path, edit
from tests.tiny_models import write_model


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

    located = {key: pydoc.locate(kwargs[key]) for key in architecture["_kw_requires_import"]}
    network = PlainConvUNet(input_channels=1, num_classes=3, deep_supervision=False, **{**kwargs, **located}).eval()
    image = torch.linspace(-1, 2, 64).reshape(1, 1, 8, 8)
    for trainer, is_clamped in (("MasegTrainerFocal", True), ("nnUNetTrainer", False)):
        folder = write_model(model.parent / trainer, network, architecture=architecture, trainer=trainer)
        with torch.inference_mode():
            found = load_model(folder).network(image)
            torch.testing.assert_close(found, network(image.clamp(0, 1) if is_clamped else image))
    assert not torch.equal(network(image), network(image.clamp(0, 1)))


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
        ("plans.json", lambda p: p["configurations"]["2d"].update(spacing=[0.004, 0.4]), "spacings"),
        ("plans.json", lambda p: p["configurations"]["2d"].update(patch_size=[100_000, 64]), "patches of"),
        ("plans.json", lambda p: p["configurations"]["2d"]["resampling_fn_data_kwargs"].update(order=99), "order 99"),
        (
            "plans.json",
            lambda p: p["configurations"]["2d"]["architecture"]["arch_kwargs"].update(n_conv_per_stage=[1, 100_000]),
            "network of 100001 layers",
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


@pytest.mark.parametrize(
    "name", ["os.system", "torch.nn.modules.module.functools.partial", "maseg_nnunet.network.Path", "builtins.print"]
)
def test_a_plans_file_can_t_name_what_is_no_network(model: Path, name: str) -> None:
    def change(plans: dict[str, Any]) -> None:
        plans["configurations"]["2d"]["architecture"]["network_class_name"] = name

    edit(model / "plans.json", change)
    with pytest.raises(ModelError, match="not a class to build a network of"):
        load_model(model)


def test_complex_weights_are_refused(model: Path) -> None:
    checkpoint = torch.load(checkpoint_path(model), weights_only=False)
    weights = checkpoint["network_weights"]
    name = next(name for name, tensor in weights.items() if tensor.is_floating_point())
    change_checkpoint(model, network_weights={**weights, name: weights[name].to(torch.complex64)})
    with pytest.raises(ModelError, match=f"weights {name} are complex"):
        load_model(model)


def test_the_record_and_not_the_trainers_name_says_that_the_input_is_clamped(model: Path) -> None:
    change_checkpoint(model, trainer_name="OurOwnTrainer")
    assert not load_model(model).network._forward_pre_hooks
    change_checkpoint(model, trainer_name="OurOwnTrainer", maseg_nnunet={"clamped": True})
    assert load_model(model).network._forward_pre_hooks


def test_weights_that_are_not_finite_are_refused(model: Path) -> None:
    checkpoint = torch.load(checkpoint_path(model), weights_only=False)
    name = next(name for name, tensor in checkpoint["network_weights"].items() if tensor.is_floating_point())
    checkpoint["network_weights"][name].view(-1)[0] = torch.nan
    torch.save(checkpoint, checkpoint_path(model))
    with pytest.raises(ModelError, match=f"weights {name} are not finite"):
        load_model(model)

"""Model folders for tests: an untrained network that compares each pixel with two thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from maseg_nnunet.dataset.description import dataset_json
from maseg_nnunet.dataset.planning import fill
from maseg_nnunet.files import write_json
from maseg_nnunet.models.folder import checkpoint_of
from maseg_nnunet.network import UNet

FINGERPRINT: dict[str, Any] = {
    "spacings": [[399.6, 0.4, 0.4]],
    "shapes_after_crop": [[1, 720, 592]],
    "foreground_intensity_properties_per_channel": {"0": {}},
}

STEEPNESS = 8.0


def threshold_network(breast: float, muscle: float) -> UNet:
    """A small version of the paper's network that labels gray above `breast` as breast and above `muscle` as muscle."""
    network = UNet(1, 3, features_per_stage=(2, 2))
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)
        elif isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(1 - module.eps)
    with torch.no_grad():
        for convolution in (network.encoder[0][0], network.encoder[0][3]):
            convolution.weight[0, 0, 1, 1] = 1
        for convolution in (network.decoder.stages[0][0], network.decoder.stages[0][3]):
            convolution.weight[0, 0, 1, 1] = 1
        head = network.decoder.head[0]
        head.weight[1, 0], head.bias[1] = STEEPNESS, -STEEPNESS * breast
        head.weight[2, 0], head.bias[2] = 2 * STEEPNESS, -STEEPNESS * (breast + muscle)
    return network.eval()


def plain_unet(features: Sequence[int]) -> dict[str, Any]:
    """The architecture, as in plans, of nnU-Net's plain U-Net with one convolution in each stage."""
    stages = len(features)
    return {
        "network_class_name": "maseg_nnunet.network.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": list(features),
            "conv_op": "torch.nn.modules.conv.Conv2d",
            "kernel_sizes": [[3, 3]] * stages,
            "strides": [[1, 1]] + [[2, 2]] * (stages - 1),
            "n_conv_per_stage": [1] * stages,
            "n_conv_per_stage_decoder": [1] * (stages - 1),
            "conv_bias": True,
            "norm_op": "torch.nn.modules.batchnorm.BatchNorm2d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def write_model(
    folder: Path,
    network: torch.nn.Module | None = None,
    *,
    spacing: float = 0.4,
    patch: tuple[int, int] = (512, 512),
    architecture: dict[str, Any] | None = None,
    trainer: str = "MasegTrainer",
    maseg: dict[str, Any] | None = None,
) -> Path:
    """Write an nnU-Net model folder, by default with the threshold network at 0.3 and 0.7."""
    network = threshold_network(0.3, 0.7) if network is None else network
    dataset = dataset_json(1, settings={"target_spacing": 0.4, **(maseg or {})})
    template = {
        "spacing": [spacing, spacing],
        "patch_size": list(patch),
        "batch_size": 2,
        "architecture": architecture
        or {
            "network_class_name": "maseg_nnunet.network.UNet",
            "arch_kwargs": {"features_per_stage": [2, 2], "strides": [[1, 1], [2, 2]]},
            "_kw_requires_import": [],
        },
    }
    (folder / "fold_0").mkdir(parents=True)
    torch.save(
        checkpoint_of(network.state_dict(), trainer=trainer, mirroring=(1,)), folder / "fold_0" / "checkpoint_final.pth"
    )
    write_json(folder / "dataset.json", dataset)
    write_json(folder / "dataset_fingerprint.json", FINGERPRINT)
    write_json(folder / "plans.json", fill(template, "threshold", "Dataset500_Maseg", dataset, FINGERPRINT))
    return folder

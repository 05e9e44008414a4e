"""A trained network and what it expects of an image, built from the files of a model folder.

A plans file names the class of its network. Only classes of this package and of nnU-Net's network library are built,
because looking up and calling any other name would run it. Opening the folder is `models/folder.py`, running the
network is `prediction/segmenter.py`.
"""

from __future__ import annotations

import pydoc
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from maseg_nnunet.arrays import Spacing
from maseg_nnunet.dataset.folders import DATASET_JSON, OURS
from maseg_nnunet.errors import ModelError
from maseg_nnunet.labels import LABELS
from maseg_nnunet.models.folder import CHECKPOINT, PLANS, RECORD, Parts, read_parts
from maseg_nnunet.network import clamp_input

DEFAULT_TARGET_SPACING: Final = 0.4
"""mm, of converted images if dataset.json does not say (paper, section 2.1)."""

SPACINGS: Final = (0.02, 10.0)
"""Smallest and largest pixel spacing of a model in mm. An image resampled to less would not fit into memory."""

MAX_PATCH: Final = 4096
"""Largest side of a patch in pixels. A smaller image is padded to the patch."""

MAX_ORDER: Final = 5
"""Highest spline order of SciPy and scikit-image."""

MAX_LAYERS: Final = 256
"""Largest sum of the stages, blocks and convolutions that the plans of a network ask for."""

_NETWORKS: Final = ("maseg_nnunet.network.", "dynamic_network_architectures.architectures.")
_NETWORK_PARTS: Final = ("torch.nn.", "dynamic_network_architectures.building_blocks.")


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network and what it expects of an image.

    Attributes:
        name: Name of the model folder.
        network: In float32, on the CPU, in evaluation mode. It takes (N, 1, H, W) in VOI units and returns logits
            (N, 3, H, W).
        trainer: Class name of the trainer.
        plans_name: Name of the plans.
        configuration: Name of the plans' configuration.
        spacing: (row, column) in mm that nnU-Net resamples converted images to.
        target_spacing: (row, column) in mm of the converted images that the network was trained on, None if they kept
            the source's grid.
        order: Spline order of nnU-Net's resampling.
        divisor: H and W must be multiples of these.
        patch: H and W of the training patches.
        inversion: Whether MONOCHROME1 images were inverted in training.
        raw_windows: Whether raw images had the windows of their headers.
        min_max: Whether displayed images were stretched to [0, 1].
        cropping: Whether black margins were cut off, as nnU-Net's preprocessing does.
        digest: SHA-256 of the checkpoint file, in hexadecimal.
    """

    name: str
    network: nn.Module = field(repr=False)
    trainer: str
    plans_name: str
    configuration: str
    spacing: Spacing
    target_spacing: Spacing | None
    order: int
    divisor: tuple[int, int]
    patch: tuple[int, int]
    inversion: bool
    raw_windows: bool
    min_max: bool
    cropping: bool
    digest: str


def load_model(path: Path) -> Model:
    """Open a model folder or ZIP and build its network.

    Args:
        path: The model folder, a ZIP of one, or a folder that contains exactly one model folder.

    Raises:
        ModelError: If the model is missing, incomplete or damaged, was made for another task, or its checkpoint
            contains more than weights.
    """
    return build_model(read_parts(path))


def build_model(parts: Parts) -> Model:
    """Build the model from the contents of its files.

    Raises:
        ModelError: If they are not a model of this project.
    """
    try:
        return _build(parts.name, parts.plans, parts.dataset, parts.checkpoint, parts.digest)
    except ModelError:
        raise
    except Exception as error:  # the plans decide which constructors are called, and these may raise anything
        raise ModelError(
            f"model {parts.name}: {PLANS}, {DATASET_JSON} and {CHECKPOINT} do not make a model of nnU-Net 2 ({error!r})"
        ) from error


def build_network(name: str, architecture: Mapping[str, Any]) -> nn.Module:
    """Build the untrained network that plans describe.

    Args:
        name: Name of the model, for messages.
        architecture: The entry "architecture" of the plans' configuration.

    Raises:
        ModelError: If the plans name a class that is not allowed, or ask for too many layers.
    """
    kwargs = dict(architecture["arch_kwargs"])
    layers = sum(int(np.sum(value)) for key, value in kwargs.items() if key.startswith("n_"))
    if not 0 <= layers <= MAX_LAYERS:
        raise ModelError(f"model {name}: {PLANS} asks for a network of {layers} layers; {MAX_LAYERS} are the limit")
    for key in architecture["_kw_requires_import"]:
        if kwargs[key] is not None:
            kwargs[key] = _located(name, kwargs[key], _NETWORK_PARTS)
    build = _located(name, architecture["network_class_name"], _NETWORKS)
    return build(input_channels=1, num_classes=len(LABELS), deep_supervision=False, **kwargs)


def _build(
    name: str, plans: Mapping[str, Any], dataset: Mapping[str, Any], checkpoint: Mapping[str, Any], digest: str
) -> Model:
    configuration = str(checkpoint["init_args"]["configuration"])
    settings = _configuration(plans, configuration)
    _check_task(name, settings, plans, dataset)
    spacing = float(settings["spacing"][0]), float(settings["spacing"][1])
    ours: Mapping[str, Any] = dataset.get(OURS, {})
    target = float(ours.get("target_spacing", DEFAULT_TARGET_SPACING))
    if not all(low <= side <= high for low, high in (SPACINGS,) for side in (*spacing, target or low)):
        raise ModelError(
            f"model {name} has the spacings {spacing} and {target} mm: {SPACINGS[0]} to {SPACINGS[1]} mm were expected"
        )
    patch = int(settings["patch_size"][0]), int(settings["patch_size"][1])
    if not all(0 < side <= MAX_PATCH for side in patch):
        raise ModelError(f"model {name} has patches of {patch} pixels: 1 to {MAX_PATCH} were expected")
    order = int(settings["resampling_fn_data_kwargs"]["order"])
    if not 0 <= order <= MAX_ORDER:
        raise ModelError(f"model {name} resamples by splines of order {order}: 0 to {MAX_ORDER} were expected")
    trainer = str(checkpoint["trainer_name"])
    strides = np.prod(settings["architecture"]["arch_kwargs"]["strides"], axis=0)
    # On "meta", no memory is allocated: drawing random weights first would take longer than loading the trained ones.
    with torch.device("meta"):
        network = build_network(name, settings["architecture"])
    weights = {key.removeprefix("module."): value for key, value in checkpoint["network_weights"].items()}
    try:
        network.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise ModelError(f"model {name}: the weights in {CHECKPOINT} do not fit the network in {PLANS}") from error
    for key, value in weights.items():
        if value.is_complex():
            raise ModelError(f"model {name}: the weights {key} are complex; real numbers were expected")
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ModelError(f"model {name} is damaged: its weights {key} are not finite")
    # The name decides for checkpoints of version 0.1, which have no record.
    if checkpoint.get(RECORD, {}).get("clamped", trainer.startswith("MasegTrainer")):
        network.register_forward_pre_hook(clamp_input)
    return Model(
        name=name,
        network=network.float().eval(),
        trainer=trainer,
        plans_name=str(plans["plans_name"]),
        configuration=configuration,
        spacing=spacing,
        target_spacing=(target, target) if target else None,
        order=order,
        divisor=(1, 1) if getattr(network, "takes_any_size", False) else (int(strides[0]), int(strides[1])),
        patch=patch,
        inversion=bool(ours.get("inversion", True)),
        raw_windows=bool(ours.get("raw_windows", False)),
        min_max=ours.get("scaling") == "min-max",
        cropping=bool(ours.get("cropping", True)),
        digest=digest,
    )


def _check_task(name: str, settings: Mapping[str, Any], plans: Mapping[str, Any], dataset: Mapping[str, Any]) -> None:
    """Reject a valid model that is not two-dimensional, has other labels, or does not take images in VOI units."""
    if dataset["labels"] != LABELS:
        raise ModelError(f"model {name} has the labels {dataset['labels']}; {LABELS} were expected")
    if len(settings["patch_size"]) != 2 or list(plans["transpose_forward"]) not in ([0, 1, 2], [0, 1]):
        raise ModelError(f"model {name} is not two-dimensional: train the configuration 2d")
    if list(settings["normalization_schemes"]) != ["NoNormalization"]:
        schemes = ", ".join(map(str, settings["normalization_schemes"]))
        raise ModelError(f"model {name} normalizes its images by {schemes}; one channel in VOI units was expected")


def _configuration(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The configuration with what it inherits, resolved as nnU-Net does."""
    settings = dict(plans["configurations"][name])
    seen = {name}
    while (parent := settings.pop("inherits_from", None)) is not None:
        if parent in seen:
            raise ValueError(f"configuration {name} inherits from itself")
        seen.add(parent)
        settings = {**plans["configurations"][parent], **settings}
    return settings


def _located(name: str, dotted: str, allowed: tuple[str, ...]) -> type[nn.Module]:
    """The network class of that dotted name. The prefix is checked first, because a look-up imports the module."""
    found = pydoc.locate(dotted) if dotted.startswith(allowed) else None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ModelError(
            f"model {name}: {dotted} is not a class to build a network of; those are in {' and '.join(allowed)}"
        )
    return found

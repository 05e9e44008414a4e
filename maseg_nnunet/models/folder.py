"""Opening a trained model: nnU-Net's model folder, or a ZIP of one, checked and loaded without running code from it.

A model folder is what nnU-Net's training leaves: plans.json, dataset.json and fold_N/checkpoint_final.pth. Checkpoints
are pickles, which can hold code: only tensors, plain values and the NumPy scalars of nnU-Net's log are let in. A plans
file names its network's class: only classes of this package and of nnU-Net's network library are built. How a network
runs is `prediction/segmenter.py`.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import math
import os
import pydoc
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from maseg_nnunet.arrays import Spacing
from maseg_nnunet.errors import ModelError
from maseg_nnunet.labels import LABELS
from maseg_nnunet.network import clamp_input

ENVIRONMENT: Final = "MASEG_MODEL"
PLANS: Final = "plans.json"
DATASET: Final = "dataset.json"
CHECKPOINT: Final = "checkpoint_final.pth"

DEFAULT_TARGET_SPACING: Final = 0.4
"""mm, of converted images whose dataset.json does not tell (paper, section 2.1)."""

MAX_JSON_BYTES: Final = 64 << 20
MAX_CHECKPOINT_BYTES: Final = 4 << 30

Folder = Path | zipfile.Path
"""A folder on disk or in a ZIP, or a file in one."""

_NETWORKS: Final = ("maseg_nnunet.network.", "dynamic_network_architectures.architectures.")
_NETWORK_PARTS: Final = ("torch.nn.", "dynamic_network_architectures.building_blocks.")


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network and what it expects of an image.

    `network`: float32, on the CPU, in evaluation mode; takes (N, 1, H, W) in VOI units, gives logits (N, 3, H, W).
    `target_spacing`: (row, column) in mm of the converted images that it was trained on, None where they kept the
    source's grid; `spacing`: (row, column) in mm that nnU-Net resamples those to; `order`: of that resampling.
    `divisor`: H and W must be multiples of it; `patch`: H and W of the patches it was trained on. `inversion`: whether
    MONOCHROME1 was turned over in training. `raw_windows`: whether raw images had their headers' windows. `min_max`:
    whether displayed images were stretched to [0, 1]. `cropping`: whether black margins were cut off, as nnU-Net's
    preprocessing does. `digest`: SHA-256 of the checkpoint.
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


@dataclass(frozen=True, eq=False)
class Parts:
    """What the files of a model folder hold; `digest` is the checkpoint's SHA-256."""

    name: str
    plans: dict[str, Any]
    dataset: dict[str, Any]
    checkpoint: dict[str, Any]
    digest: str


def find_model(path: Path | None = None) -> Path:
    """`path`, else the model in the package, else the one that $MASEG_MODEL names.

    Raises ModelError where there is none.
    """
    if path is not None:
        return path
    packaged = packaged_models()
    if packaged:
        return packaged[0]
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named)
    raise ModelError(
        "no model: this installation comes without one. Give --model a model folder or ZIP (nnUNetv2_train leaves one "
        f"in nnUNet_results/DatasetNNN_NAME/TRAINER__PLANS__2d, maseg import-weights makes one), or set ${ENVIRONMENT}"
    )


def packaged_models() -> list[Path]:
    """Model folders that come with the package, sorted by name."""
    base = Path(str(files("maseg_nnunet"))) / "models"
    return sorted(path.parent for path in base.glob(f"*/{PLANS}"))


def load_model(path: Path) -> Model:
    """Open the model folder or ZIP at `path`, or the one model folder below it.

    Raises ModelError where it is missing, incomplete, damaged, made for another task, or holds more than weights.
    """
    return build_model(read_parts(path))


def read_parts(path: Path) -> Parts:
    """The files of the model folder or ZIP at `path`, read and no more. Raises ModelError as `load_model`."""
    name, folder = open_folder(path)
    plans, dataset = _json(folder, name, PLANS), _json(folder, name, DATASET)
    data = _checkpoint(folder, name)
    return Parts(name, plans, dataset, _weights(name, data), hashlib.sha256(data).hexdigest())


def build_model(parts: Parts) -> Model:
    """The model that the files make. Raises ModelError where they make none of ours."""
    try:
        return _build(parts.name, parts.plans, parts.dataset, parts.checkpoint, parts.digest)
    except ModelError:
        raise
    except Exception as error:  # networks are built by others' code, which may raise anything
        raise ModelError(
            f"model {parts.name}: {PLANS}, {DATASET} and {CHECKPOINT} do not make a model of nnU-Net 2 ({error!r})"
        ) from error


def checkpoint_of(
    weights: Mapping[str, torch.Tensor], *, trainer: str, mirroring: tuple[int, ...] | None, configuration: str = "2d"
) -> dict[str, Any]:
    """What nnU-Net's predictor, its -pretrained_weights and `load_model` read of a checkpoint, and nothing else.

    `mirroring`: image axes of test-time mirroring, None for none.
    """
    return {
        "network_weights": dict(weights),
        "trainer_name": trainer,
        "init_args": {"configuration": configuration, "fold": 0},
        "inference_allowed_mirroring_axes": mirroring,
    }


def _build(
    name: str, plans: Mapping[str, Any], dataset: Mapping[str, Any], checkpoint: Mapping[str, Any], digest: str
) -> Model:
    configuration = str(checkpoint["init_args"]["configuration"])
    settings = _configuration(plans, configuration)
    _check_task(name, settings, plans, dataset)
    spacing = float(settings["spacing"][0]), float(settings["spacing"][1])
    ours: Mapping[str, Any] = dataset.get("maseg", {})
    target = float(ours.get("target_spacing", DEFAULT_TARGET_SPACING))
    if not (all(0 < side < math.inf for side in spacing) and 0 <= target < math.inf):
        raise ModelError(f"model {name} has the spacings {spacing} and {target} mm, which can't be")
    trainer = str(checkpoint["trainer_name"])
    strides = np.prod(settings["architecture"]["arch_kwargs"]["strides"], axis=0)
    # Without memory: the weights come from the checkpoint, and drawing others first takes longer than loading them.
    with torch.device("meta"):
        network = build_network(name, settings["architecture"])
    weights = {key.removeprefix("module."): value for key, value in checkpoint["network_weights"].items()}
    try:
        network.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise ModelError(f"model {name}: the weights in {CHECKPOINT} do not fit the network in {PLANS}") from error
    for key, value in weights.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ModelError(f"model {name} is damaged: its weights {key} are not finite, and all would be background")
    if trainer.startswith("MasegTrainer"):
        network.register_forward_pre_hook(clamp_input)
    return Model(
        name=name,
        network=network.float().eval(),
        trainer=trainer,
        plans_name=str(plans["plans_name"]),
        configuration=configuration,
        spacing=spacing,
        target_spacing=(target, target) if target else None,
        order=int(settings["resampling_fn_data_kwargs"]["order"]),
        divisor=(1, 1) if getattr(network, "takes_any_size", False) else (int(strides[0]), int(strides[1])),
        patch=(int(settings["patch_size"][0]), int(settings["patch_size"][1])),
        inversion=bool(ours.get("inversion", True)),
        raw_windows=bool(ours.get("raw_windows", False)),
        min_max=ours.get("scaling") == "min-max",
        cropping=bool(ours.get("cropping", True)),
        digest=digest,
    )


def _check_task(name: str, settings: Mapping[str, Any], plans: Mapping[str, Any], dataset: Mapping[str, Any]) -> None:
    """Refuse a model that is a proper one, but not of mammograms in VOI units in two dimensions."""
    if dataset["labels"] != LABELS:
        raise ModelError(f"model {name} has the labels {dataset['labels']}; {LABELS} were expected")
    if len(settings["patch_size"]) != 2 or list(plans["transpose_forward"]) not in ([0, 1, 2], [0, 1]):
        raise ModelError(f"model {name} is not two-dimensional: train the configuration 2d")
    if list(settings["normalization_schemes"]) != ["NoNormalization"]:
        schemes = ", ".join(map(str, settings["normalization_schemes"]))
        raise ModelError(f"model {name} normalizes its images by {schemes}; one channel in VOI units was expected")


def _configuration(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The configuration with what it inherits, as nnU-Net resolves it."""
    settings = dict(plans["configurations"][name])
    seen = {name}
    while (parent := settings.pop("inherits_from", None)) is not None:
        if parent in seen:
            raise ValueError(f"configuration {name} inherits from itself")
        seen.add(parent)
        settings = {**plans["configurations"][parent], **settings}
    return settings


def build_network(name: str, architecture: Mapping[str, Any]) -> nn.Module:
    """The untrained network that the plans of the model `name` describe. Raises ModelError for a class of another's."""
    kwargs = dict(architecture["arch_kwargs"])
    for key in architecture["_kw_requires_import"]:
        if kwargs[key] is not None:
            kwargs[key] = _located(name, kwargs[key], _NETWORK_PARTS)
    build = _located(name, architecture["network_class_name"], _NETWORKS)
    return build(input_channels=1, num_classes=len(LABELS), deep_supervision=False, **kwargs)


def _located(name: str, dotted: str, allowed: tuple[str, ...]) -> type[nn.Module]:
    """The network class of that dotted name. Looking a name up imports, and calling what it names would run it."""
    found = pydoc.locate(dotted) if dotted.startswith(allowed) else None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ModelError(
            f"model {name}: {dotted} is not a class to build a network of; those are in {' and '.join(allowed)}"
        )
    return found


def open_folder(path: Path) -> tuple[str, Folder]:
    """The model folder at or below `path` and its name; a ZIP is read as it is, nothing is unpacked.

    Raises ModelError where there is none, or several.
    """
    if path.is_dir():
        root: Folder = path
    elif zipfile.is_zipfile(path):
        try:
            root = zipfile.Path(path)
        except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
            raise ModelError(f"the ZIP {path} is damaged: get it anew") from error
    else:
        raise ModelError(f"no model at {path}: a model folder of nnU-Net, or a ZIP of one, was expected")
    found = list(_folders_with_plans(root, depth=4))
    if not found:
        raise ModelError(f"{path} is no model folder: there is no {PLANS} in it")
    if len(found) > 1:
        names = ", ".join(sorted(folder.name for folder in found))
        raise ModelError(f"{path} holds {len(found)} models ({names}): name one of them")
    return found[0].name or path.name, found[0]


def _folders_with_plans(folder: Folder, depth: int) -> Iterator[Folder]:
    if (folder / PLANS).is_file():
        yield folder
    elif depth:
        for inner in folder.iterdir():
            if inner.is_dir():
                yield from _folders_with_plans(inner, depth - 1)


def _read(file: Folder, model: str, most: int) -> bytes:
    if not file.is_file():
        raise ModelError(f"model {model} is incomplete: {file.name} is missing")
    try:
        with file.open("rb") as stream:
            data = bytes(stream.read(most + 1))
    except (OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
        raise ModelError(f"model {model}: {file.name} can't be read ({error})") from error
    if len(data) > most:
        raise ModelError(f"model {model}: {file.name} is larger than {most >> 20} MiB")
    return data


def _json(folder: Folder, model: str, file: str) -> dict[str, Any]:
    try:
        content = json.loads(_read(folder / file, model, MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"model {model}: {file} is no JSON") from error
    if not isinstance(content, dict):
        raise ModelError(f"model {model}: {file} is not what nnU-Net 2 writes")
    return content


def _checkpoint(folder: Folder, model: str) -> bytes:
    """The bytes of fold_0, else of the only fold there is: folds may be different experiments, so none are averaged."""
    folds = sorted(inner.name for inner in folder.iterdir() if inner.name.startswith("fold_") and inner.is_dir())
    trained = [fold for fold in folds if (folder / fold / CHECKPOINT).is_file()]
    if not trained:
        raise ModelError(f"model {model} is incomplete: no fold has a {CHECKPOINT} (training leaves it at its end)")
    if "fold_0" not in trained and len(trained) > 1:
        raise ModelError(f"model {model} has {', '.join(trained)} but no fold_0: keep one fold in the folder")
    return _read(folder / ("fold_0" if "fold_0" in trained else trained[0]) / CHECKPOINT, model, MAX_CHECKPOINT_BYTES)


def _weights(model: str, data: bytes) -> dict[str, Any]:
    scalar = np.float64(0).__reduce__()[0]
    allowed = [np.dtype, type(np.dtype("f4")), type(np.dtype("f8")), scalar]
    # NumPy 1 and 2 keep the same function in different places, and name it so.
    allowed += [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar")]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle's version
            checkpoint = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a file that is damaged, or that was made to harm, brings about
        raise ModelError(
            f"model {model}: {CHECKPOINT} is damaged, or holds more than weights: not loaded, since that could run code"
        ) from error
    if not isinstance(checkpoint, dict):
        raise ModelError(f"model {model}: {CHECKPOINT} is not a checkpoint of nnU-Net 2")
    return checkpoint

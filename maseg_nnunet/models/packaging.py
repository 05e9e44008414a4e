"""Packaging a trained model so that it can be shared: small, and without the names of its training cases.

nnU-Net's checkpoints contain float32 weights, the optimizer's state, and the arguments of the trainer, which name every
training case. Only the weights are kept here, in half precision. Each tensor is saved once: the state dict of nnU-Net's
networks has some tensors under several names. `maseg predict` and nnU-Net's commands both run the result, in float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from maseg_nnunet.dataset.description import dataset_json
from maseg_nnunet.dataset.folders import DATASET_JSON, FINGERPRINT
from maseg_nnunet.errors import ModelError, OutputError
from maseg_nnunet.files import write_json
from maseg_nnunet.models.folder import (
    CHECKPOINT,
    PLANS,
    RECORD,
    Parts,
    checkpoint_of,
    open_folder,
    read_parts,
    write_checkpoint,
)
from maseg_nnunet.models.model import build_model

_HALF_MAX: Final = torch.finfo(torch.float16).max


def package(trained: Path, output: Path) -> Path:
    """Write a trained model as a small model folder.

    Args:
        trained: Model folder or ZIP that training left.
        output: Folder to write. Other files in it, such as a model card, are left alone.

    Returns:
        `output`.

    Raises:
        ModelError: If `trained` is not a model of this project, or has weights too large for half precision.
        OutputError: If `output` is `trained` itself or the folder of another training.
    """
    _, folder = open_folder(trained)
    if isinstance(folder, Path) and output.resolve() == folder.resolve():
        raise OutputError(f"{output} is the trained model itself: name another folder")
    if any(output.glob("fold_*/training_log_*.txt")):
        raise OutputError(f"{output} contains another training, which would be lost: name another folder")
    parts = read_parts(trained)
    build_model(parts)
    checkpoint = checkpoint_of(
        halved(parts.checkpoint["network_weights"]),
        trainer=parts.checkpoint["trainer_name"],
        mirroring=parts.checkpoint.get("inference_allowed_mirroring_axes"),
        configuration=parts.checkpoint["init_args"]["configuration"],
        record=parts.checkpoint.get(RECORD),
    )
    fingerprint = _fingerprint(parts)
    write_checkpoint(output / "fold_0" / CHECKPOINT, checkpoint)
    write_json(output / DATASET_JSON, {key: parts.dataset[key] for key in dataset_json(0) if key in parts.dataset})
    write_json(output / FINGERPRINT, fingerprint)
    # Last, because only a folder with plans counts as a model.
    write_json(output / PLANS, parts.plans)
    return output


def halved(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert weights to float16. Integers stay as they are, and tensors that shared memory share it again.

    Args:
        weights: A state dict.

    Raises:
        ModelError: If a value is not finite in float16.
    """
    made: dict[tuple[int, torch.Size], Tensor] = {}
    result = {}
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not (tensor.abs() <= _HALF_MAX).all():
            raise ModelError(f"the weights {name} are not finite, or too large for half precision")
        place = tensor.data_ptr(), tensor.shape
        if place not in made:
            made[place] = tensor.half() if tensor.is_floating_point() else tensor.clone()
        result[name] = made[place]
    return result


def _fingerprint(parts: Parts) -> dict[str, Any]:
    """What nnU-Net's planner needs, for the median image instead of every case."""
    try:
        return {
            "spacings": [parts.plans["original_median_spacing_after_transp"]],
            "shapes_after_crop": [parts.plans["original_median_shape_after_transp"]],
            "foreground_intensity_properties_per_channel": parts.plans["foreground_intensity_properties_per_channel"],
            "median_relative_size_after_cropping": 1.0,
        }
    except KeyError as error:
        raise ModelError(f"model {parts.name}: {PLANS} has no {error}, which nnU-Net 2 writes") from error

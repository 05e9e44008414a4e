"""A trained model made fit to be passed on: small, and without a word of the cases that it was trained on.

nnU-Net's training leaves checkpoints of float32 weights, with the optimizer's state and the arguments of the trainer,
which name every training case. Here the weights are kept alone, in half precision, each tensor once: nnU-Net's networks
list some of theirs under several names. Both `maseg predict` and nnU-Net's commands run the result, in float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from maseg_nnunet.dataset.description import dataset_json
from maseg_nnunet.dataset.folders import FINGERPRINT
from maseg_nnunet.errors import ModelError, OutputError
from maseg_nnunet.files import atomic, write_json
from maseg_nnunet.models.folder import CHECKPOINT, DATASET, PLANS, build_model, checkpoint_of, open_folder, read_parts

_HALF_MAX: Final = torch.finfo(torch.float16).max


def package(trained: Path, output: Path) -> Path:
    """Write the trained model folder `trained` as the model folder `output`; returns `output`.

    Other files that `output` holds, such as a model card, are left alone. Raises ModelError where `trained` is no model
    of this project or has weights too large for half precision, OutputError where `output` is a training's folder.
    """
    _, folder = open_folder(trained)
    if isinstance(folder, Path) and output.resolve() == folder.resolve():
        raise OutputError(f"{output} is the trained model itself: name another folder")
    if any(output.glob("fold_*/training_log_*.txt")):
        raise OutputError(f"{output} holds another training, which would be lost: name another folder")
    parts = read_parts(trained)
    build_model(parts)
    checkpoint = checkpoint_of(
        halved(parts.checkpoint["network_weights"]),
        trainer=parts.checkpoint["trainer_name"],
        mirroring=parts.checkpoint["inference_allowed_mirroring_axes"],
        configuration=parts.checkpoint["init_args"]["configuration"],
    )
    with atomic(output / "fold_0" / CHECKPOINT) as temporary:
        torch.save(checkpoint, temporary)
    write_json(output / DATASET, {key: parts.dataset[key] for key in dataset_json(0) if key in parts.dataset})
    write_json(output / FINGERPRINT, _fingerprint(parts.plans))
    # Last: a folder without plans is no model.
    write_json(output / PLANS, parts.plans)
    return output


def halved(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """`weights` in float16, integers as they are; what shared its memory shares it again.

    Raises ModelError for values that float16 has not.
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


def _fingerprint(plans: dict[str, Any]) -> dict[str, Any]:
    """What nnU-Net's planner would need, of the median image in place of every case."""
    return {
        "spacings": [plans["original_median_spacing_after_transp"]],
        "shapes_after_crop": [plans["original_median_shape_after_transp"]],
        "foreground_intensity_properties_per_channel": plans["foreground_intensity_properties_per_channel"],
        "median_relative_size_after_cropping": 1.0,
    }

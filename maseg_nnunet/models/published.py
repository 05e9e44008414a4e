"""Importing the published model's weights as an nnU-Net model folder. Models trained here are folders already.

The published model (radboud-axti/maseg on GitHub, MIT licence) is a PyTorch Lightning checkpoint: a dictionary whose
"state_dict" contains the weights of `network.UNet` under other names. `nnUNetv2_predict_from_modelfolder`,
`maseg predict` and `-pretrained_weights` of nnUNetv2_train all accept the imported folder.

The images that this model was trained on differ from what `convert_vendor` writes. The folder's dataset.json says so
under "maseg", where prediction reads it (the value in brackets is the default of a missing key):

- "target_spacing": 0.4, in mm.
- "inversion": false (true). MONOCHROME1 images were not inverted for training.
- "scaling": "min-max" ("voi"). After the window, the darkest pixel of an image became 0 and the brightest 1.
- "cropping": false (true). Black margins were not cut off.

`maseg predict` follows all four. nnU-Net's own command takes images as they are on disk and cuts margins off. That is
right for MONOCHROME2 images that reach black and white in their window, as nearly all do.

The published forward pass surrounds the image with black and crops its output. The folder names a network that does the
same, `network.PublishedUNet`, so `maseg predict` gives the published logits up to the edge and for any size; nnU-Net's
command does so for each of its tiles.

The published program also shifts its masks by (0.4 mm - source spacing) / 2, because it downsamples about the first
pixel's centre and upsamples about its corner. That is not a property of the weights, and does not happen here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from maseg_nnunet.dataset.description import dataset_json
from maseg_nnunet.dataset.folders import DATASET_JSON, FINGERPRINT
from maseg_nnunet.dataset.planning import fill, load_template
from maseg_nnunet.errors import ModelError, OutputError
from maseg_nnunet.files import write_json
from maseg_nnunet.labels import LABELS
from maseg_nnunet.models.folder import CHECKPOINT, MAX_CHECKPOINT_BYTES, PLANS, checkpoint_of, write_checkpoint
from maseg_nnunet.network import PublishedUNet, UNet

logger = logging.getLogger(__name__)

NAME: Final = "Dataset500_Maseg"
TEMPLATE: Final = "maseg_paper"

_STATE: Final = "state_dict"
_LAYERS: Final = "layers."

_FINGERPRINT: Final[dict[str, Any]] = {
    # Of one typical image. nnU-Net looks up each of these, but does not use them for inference.
    "spacings": [[399.6, 0.4, 0.4]],
    "shapes_after_crop": [[1, 720, 592]],
    "foreground_intensity_properties_per_channel": {"0": {}},
    "median_relative_size_after_cropping": 1.0,
}


def import_weights(checkpoint: Path, output: Path) -> Path:
    """Make a model folder from the published Lightning checkpoint.

    Args:
        checkpoint: The published file, segmentation_weights.ckpt.
        output: The folder to write; it must be empty or not exist.

    Returns:
        `output`.

    Raises:
        ModelError: If the file is missing, is not a checkpoint of this network, or contains more than weights. It is
            not unpickled then, because that could run code.
        OutputError: If `output` exists and is not an empty folder.
    """
    weights = convert(read_state(checkpoint))
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError(f"{output} exists and is not an empty folder: name another one, or remove it")
    features = _features(weights)
    template = load_template(TEMPLATE)
    template["architecture"]["network_class_name"] = f"{PublishedUNet.__module__}.{PublishedUNet.__qualname__}"
    template["architecture"]["arch_kwargs"]["features_per_stage"] = features
    template["architecture"]["arch_kwargs"]["strides"] = [[1, 1]] + [[2, 2]] * (len(features) - 1)
    dataset = _dataset()
    # The published model is applied without test-time mirroring.
    write_checkpoint(output / "fold_0" / CHECKPOINT, checkpoint_of(weights, trainer="nnUNetTrainer", mirroring=None))
    write_json(output / FINGERPRINT, _FINGERPRINT)
    write_json(output / DATASET_JSON, dataset)
    # Last, because only a folder with plans counts as a model.
    write_json(output / PLANS, fill(template, TEMPLATE, NAME, dataset, _FINGERPRINT))
    return output


def read_state(checkpoint: Path) -> dict[str, Tensor]:
    """Read the network's tensors from a Lightning checkpoint.

    Args:
        checkpoint: The published file.

    Returns:
        The tensors under "state_dict" whose names begin with "layers.". Others, such as a loss's weights, are left out.

    Raises:
        ModelError: If the file is missing, too large, not a Lightning checkpoint, or contains more than weights.
    """
    if not checkpoint.is_file():
        raise ModelError(f"{checkpoint} is missing: segmentation_weights.ckpt of the published model was expected")
    if checkpoint.stat().st_size > MAX_CHECKPOINT_BYTES:
        raise ModelError(
            f"{checkpoint} is larger than {MAX_CHECKPOINT_BYTES >> 20} MiB: not a checkpoint of this network"
        )
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or malicious file may raise anything
        raise ModelError(
            f"{checkpoint} is damaged, not a PyTorch checkpoint, or contains more than weights: not loaded, as that "
            "could run code"
        ) from error
    state = content.get(_STATE) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise ModelError(f"{checkpoint} is not a Lightning checkpoint: it has no dictionary {_STATE!r}")
    kept = {key: value for key, value in state.items() if key.startswith(_LAYERS) and isinstance(value, Tensor)}
    if len(kept) < len(state):
        logger.info("%d of %d entries do not belong to the network: left out", len(state) - len(kept), len(state))
    return kept


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the published tensors to the names of `network.UNet`.

    Args:
        state: The published state dict.

    Returns:
        A state dict of `network.UNet`, with its dtypes.

    Raises:
        ModelError: If a tensor is missing or left over, has another shape, or is not finite.
    """
    numbers = [int(match[1]) for key in state if (match := re.match(r"layers\.(\d{1,2})\.", key))]
    places = _places(poolings=(max(numbers, default=0) - 1) // 2)
    renamed = {_place(key, places): tensor for key, tensor in state.items()}
    try:
        with torch.device("meta"):
            expected = UNet(1, len(LABELS), features_per_stage=_features(renamed)).state_dict()
    except (KeyError, IndexError, RuntimeError) as error:
        raise ModelError(
            "the checkpoint is not of the paper's U-Net: the number of stages can't be read from its keys"
        ) from error
    for name, tensor in expected.items():
        if name.endswith("num_batches_tracked"):
            # This counts training steps. Older files do not have it, and inference does not read it.
            renamed.setdefault(name, torch.zeros((), dtype=torch.long))
        if name not in renamed or renamed[name].shape != tensor.shape:
            found = tuple(renamed[name].shape) if name in renamed else "missing"
            raise ModelError(
                f"the checkpoint is not of the paper's U-Net: {name} is {found}, not {tuple(tensor.shape)}"
            )
        if not torch.isfinite(renamed[name]).all():
            raise ModelError(f"the checkpoint is damaged: {name} contains values that are not finite")
    if surplus := sorted(set(renamed) - set(expected)):
        raise ModelError(f"the checkpoint is not of the paper's U-Net, which has no {surplus[0]}")
    return {name: renamed[name].to(tensor.dtype).clone() for name, tensor in expected.items()}


def _places(poolings: int) -> dict[str, str]:
    """Prefixes of published names and those in `UNet`. Layers 0 to n go down, n+1 to 2n go up, 2n+1 is the head."""
    places = {"layers.0.net.": "encoder.0.", f"layers.{2 * poolings + 1}.0.": "decoder.head.0."}
    for n in range(poolings):
        places[f"layers.{n + 1}.net.1.net."] = f"encoder.{n + 1}."
        places[f"layers.{n + poolings + 1}.upsample.1."] = f"decoder.reduce.{n}."
        places[f"layers.{n + poolings + 1}.conv.net."] = f"decoder.stages.{n}."
    return places


def _place(key: str, places: Mapping[str, str]) -> str:
    """The name in `UNet` of a published name, or the published name itself if `UNet` has no such tensor."""
    for prefix, place in places.items():
        if key.startswith(prefix):
            return place + key.removeprefix(prefix)
    return key


def _features(weights: Mapping[str, Tensor]) -> list[int]:
    """The number of features of each stage: the outputs of its first convolution."""
    stages = len({key.split(".")[1] for key in weights if key.startswith("encoder.")})
    return [int(weights[f"encoder.{stage}.0.weight"].shape[0]) for stage in range(stages)]


def _dataset() -> dict[str, Any]:
    return dataset_json(
        3116,
        name=NAME,
        description="Published model for breast and pectoral muscle segmentation of mammograms, imported",
        reference="Verboom et al., J. Med. Imaging 11(1) 014001 (2024), doi:10.1117/1.JMI.11.1.014001",
        licence="MIT, Copyright (c) 2024 Radboudumc",
        settings={"target_spacing": 0.4, "inversion": False, "scaling": "min-max", "cropping": False},
    )

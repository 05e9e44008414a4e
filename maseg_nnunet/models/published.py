"""The published model's weights as an nnU-Net model folder. Not for models trained here: those are folders already.

The published model (radboud-axti/maseg on GitHub, MIT licence) is a PyTorch Lightning checkpoint: a dictionary whose
"state_dict" names the same U-Net as `network.UNet` in another order. The folder made from it serves
`nnUNetv2_predict_from_modelfolder` and `maseg predict`, and `-pretrained_weights` of nnUNetv2_train.

What this model was trained on differs from what `convert_vendor` writes; the folder's dataset.json says so under
"maseg", where prediction reads it (a key that is missing there has the value in brackets):

- "target_spacing": 0.4, in mm.
- "inversion": false (true). MONOCHROME1 images went into training as they are stored, not turned over.
- "scaling": "min-max" ("voi"). After the window, the darkest pixel of an image was made 0 and the brightest 1.
- "cropping": false (true). Black margins were left on.

`maseg predict` honours all four. nnU-Net's own command takes images as they are on disk and cuts margins off: right for
MONOCHROME2 images whose window reaches black and white in them, as nearly all windows do.

The published forward pass surrounds the image with black and crops its output. The folder names a network that does
the same, `network.PublishedUNet`, so `maseg predict` gives the published logits, up to the edge and for any size (to
1e-5 on random weights); nnU-Net's command does so for each of its tiles. Without the black, a network trained briefly
on mini-MIAS labels 0.8 % of all pixels differently, and 0.02 % of those that are 64 pixels or more from the edge.

The published route also shifts its masks by (0.4 mm - source spacing) / 2, about 0.16 mm, because it resamples about
the first pixel's centre and enlarges about its corner. The weights do not: here they are free of it.
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
from maseg_nnunet.dataset.folders import FINGERPRINT
from maseg_nnunet.dataset.planning import fill, load_template
from maseg_nnunet.errors import ModelError, OutputError
from maseg_nnunet.files import atomic, write_json
from maseg_nnunet.labels import LABELS
from maseg_nnunet.models.folder import CHECKPOINT, DATASET, MAX_CHECKPOINT_BYTES, PLANS, checkpoint_of
from maseg_nnunet.network import PublishedUNet, UNet

logger = logging.getLogger(__name__)

NAME: Final = "Dataset500_Maseg"
TEMPLATE: Final = "maseg_paper"

_STATE: Final = "state_dict"
_LAYERS: Final = "layers."

_FINGERPRINT: Final[dict[str, Any]] = {
    # Of one typical image: nnU-Net looks each of these up, and uses none of them in inference.
    "spacings": [[399.6, 0.4, 0.4]],
    "shapes_after_crop": [[1, 720, 592]],
    "foreground_intensity_properties_per_channel": {"0": {}},
    "median_relative_size_after_cropping": 1.0,
}


def import_weights(checkpoint: Path, output: Path) -> Path:
    """Make the model folder `output` from the published Lightning file `checkpoint`; returns `output`.

    Raises ModelError where the file is missing, holds more than weights (it is then not unpickled: that could run
    code), or is not of this network; OutputError where `output` is there already.
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
    with atomic(output / "fold_0" / CHECKPOINT) as temporary:
        # The published model is applied without test-time mirroring.
        torch.save(checkpoint_of(weights, trainer="nnUNetTrainer", mirroring=None), temporary)
    write_json(output / FINGERPRINT, _FINGERPRINT)
    write_json(output / DATASET, dataset)
    # Last: a folder without plans is no model.
    write_json(output / PLANS, fill(template, TEMPLATE, NAME, dataset, _FINGERPRINT))
    return output


def read_state(checkpoint: Path) -> dict[str, Tensor]:
    """The tensors under "state_dict" of a Lightning checkpoint whose names begin with "layers.".

    Others, such as a loss's weights, are left out. Raises ModelError as `import_weights`.
    """
    if not checkpoint.is_file():
        raise ModelError(f"{checkpoint} is missing: segmentation_weights.ckpt of the published model was expected")
    if checkpoint.stat().st_size > MAX_CHECKPOINT_BYTES:
        raise ModelError(
            f"{checkpoint} is larger than {MAX_CHECKPOINT_BYTES >> 20} MiB: not a checkpoint of this network"
        )
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a file that is none, or that was made to harm, brings about
        raise ModelError(
            f"{checkpoint} is damaged, no PyTorch checkpoint, or holds more than weights: not loaded, since that could "
            "run code"
        ) from error
    state = content.get(_STATE) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise ModelError(f"{checkpoint} is not a Lightning checkpoint: it has no dictionary {_STATE!r}")
    kept = {key: value for key, value in state.items() if key.startswith(_LAYERS) and isinstance(value, Tensor)}
    if len(kept) < len(state):
        logger.info("%d of %d entries are not of the network and left out", len(state) - len(kept), len(state))
    return kept


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict with the names and types of `network.UNet`.

    Raises ModelError where a tensor is missing, left over, of another shape or not finite.
    """
    numbers = [int(match[1]) for key in state if (match := re.match(r"layers\.(\d{1,2})\.", key))]
    places = _places(poolings=(max(numbers, default=0) - 1) // 2)
    renamed = {_place(key, places): tensor for key, tensor in state.items()}
    try:
        with torch.device("meta"):
            expected = UNet(1, len(LABELS), features_per_stage=_features(renamed)).state_dict()
    except (KeyError, IndexError, RuntimeError) as error:
        raise ModelError(
            "the checkpoint is not of the paper's U-Net: its stages can't be told from its keys"
        ) from error
    for name, tensor in expected.items():
        if name.endswith("num_batches_tracked"):
            # Counts training steps; older files lack it, and nothing reads it in inference.
            renamed.setdefault(name, torch.zeros((), dtype=torch.long))
        if name not in renamed or renamed[name].shape != tensor.shape:
            found = tuple(renamed[name].shape) if name in renamed else "missing"
            raise ModelError(
                f"the checkpoint is not of the paper's U-Net: {name} is {found}, not {tuple(tensor.shape)}"
            )
        if not torch.isfinite(renamed[name]).all():
            raise ModelError(f"the checkpoint is damaged: {name} has values that are not finite")
    if surplus := sorted(set(renamed) - set(expected)):
        raise ModelError(f"the checkpoint is not of the paper's U-Net: {surplus[0]} has no place in it")
    return {name: renamed[name].to(tensor.dtype).clone() for name, tensor in expected.items()}


def _places(poolings: int) -> dict[str, str]:
    """Prefix of the published names to prefix in `UNet`. Layers 0 to n go down, n+1 to 2n up, 2n+1 is the head."""
    places = {"layers.0.net.": "encoder.0.", f"layers.{2 * poolings + 1}.0.": "decoder.head.0."}
    for n in range(poolings):
        places[f"layers.{n + 1}.net.1.net."] = f"encoder.{n + 1}."
        places[f"layers.{n + poolings + 1}.upsample.1."] = f"decoder.reduce.{n}."
        places[f"layers.{n + poolings + 1}.conv.net."] = f"decoder.stages.{n}."
    return places


def _place(key: str, places: Mapping[str, str]) -> str:
    """The name in `UNet` of a published one; one that has no place keeps its own."""
    for prefix, place in places.items():
        if key.startswith(prefix):
            return place + key.removeprefix(prefix)
    return key


def _features(weights: Mapping[str, Tensor]) -> list[int]:
    """Features of each stage, from the number of outputs of its first convolution."""
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

"""Short trainings that tell what each part of MasegTrainerVaried's variety gains on a source that was left out.

`benchmarks/sources_left_out.py` runs them. All are as long; each leaves one part out.
"""

# nnU-Net comes without types:
# mypy: disallow-subclassing-any=False

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from maseg_nnunet.trainers.maseg_variants import MasegTrainerVaried

from maseg_nnunet.varied_patches import VariedPatches, Variety


class MasegTrainerVariedShort(MasegTrainerVaried):
    """All of MasegTrainerVaried in 800 steps."""

    final_validation_cases = 2

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 16
        self.num_iterations_per_epoch = 50


class MasegTrainerVariedNoDisplays(MasegTrainerVariedShort):
    """Without synthetic windows and sigmoids."""

    loader = partial(VariedPatches, variety=Variety(displays=0))


class MasegTrainerVariedNoRawLike(MasegTrainerVariedShort):
    """Without images that are made to look raw."""

    loader = partial(VariedPatches, variety=Variety(raw_like=0))


class MasegTrainerVariedNoArtefacts(MasegTrainerVariedShort):
    """Without labels, tape and fog beside the breast."""

    loader = partial(VariedPatches, variety=Variety(artefacts=0))

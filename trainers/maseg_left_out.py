"""Short trainings that tell what each part of the variety gains: MasegTrainerVaried's, and that without one part.

`benchmarks/sources_left_out.py` compares them; all are as long, but that for `benchmarks/cross_validation.py`.
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
    """800 steps of MasegTrainerVaried."""

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


class MasegTrainerVariedMedium(MasegTrainerVariedShort):
    """3,000 steps of MasegTrainerVaried: muscles of CC views take more than 800 to learn."""

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 30
        self.num_iterations_per_epoch = 100


class MasegTrainerVariedNoDisplays(MasegTrainerVariedShort):
    """Without synthetic windows and sigmoids."""

    loader = staticmethod(partial(VariedPatches, variety=Variety(displays=0)))


class MasegTrainerVariedNoRawLike(MasegTrainerVariedShort):
    """Without images that are made to look raw."""

    loader = staticmethod(partial(VariedPatches, variety=Variety(raw_like=0)))


class MasegTrainerVariedNoArtefacts(MasegTrainerVariedShort):
    """Without labels, tape and fog beside the breast."""

    loader = staticmethod(partial(VariedPatches, variety=Variety(artefacts=0)))


class MasegTrainerVariedNoTissue(MasegTrainerVariedShort):
    """Without rims and muscles of another brightness."""

    loader = staticmethod(partial(VariedPatches, variety=Variety(rims=0, muscles=0)))


class MasegTrainerVariedNoCCMuscles(MasegTrainerVariedShort):
    """Without muscles drawn into CC views."""

    loader = staticmethod(partial(VariedPatches, variety=Variety(cc_muscles=0)))

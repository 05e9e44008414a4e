"""MasegTrainer: what differs from nnU-Net's own trainer when mammograms are segmented, and only that.

The parts live in `maseg_nnunet` and are tested there: losses, precision, folds. nnU-Net imports this module
from the folder that nnUNet_extTrainer names and drops it again, so nothing here may be pickled or keep state.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from nnunetv2.paths import nnUNet_raw
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from maseg_nnunet.files import atomic
from maseg_nnunet.folds import fetch, read_fold
from maseg_nnunet.losses import PAPER_ALPHA, PixelLoss, WeightedCrossEntropy
from maseg_nnunet.precision import autocast, channels_last

COLUMNS: Final = 1
"""The image axis that may be mirrored: a breast has a left and a right form, but none upside down."""

WITHOUT_DEEP_SUPERVISION: Final = "maseg_nnunet.network.UNet"


class MasegTrainer(nnUNetTrainer):  # type: ignore[misc]  # nnU-Net comes without types
    """Trains as the paper does: weighted cross-entropy, AdamW, left-right mirroring alone.

    The paper names no optimizer; AdamW from 1e-3, falling polynomially over at most 200 epochs, is this project's.
    """

    alpha: tuple[float, ...] = PAPER_ALPHA

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008  # nnU-Net reads this very signature
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr = 1e-3
        self.weight_decay = 1e-2
        self.num_epochs = 200
        self.save_every = 1
        self.enable_deep_supervision = self.configuration_manager.network_arch_class_name != WITHOUT_DEEP_SUPERVISION

    def make_loss(self) -> PixelLoss:
        """The loss of one output."""
        return WeightedCrossEntropy(self.alpha, ignore_label=self.label_manager.ignore_label)

    @staticmethod
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """The planned network; one that is not this project's is made to clamp its input, in prediction too."""
        network: nn.Module = nnUNetTrainer.build_network_architecture(
            plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
        )
        if not type(network).__module__.startswith("maseg_nnunet."):
            network.register_forward_pre_hook(_clamp)
        return network

    def initialize(self) -> None:
        """As nnU-Net, then the layout that is fastest."""
        super().initialize()
        self.network = channels_last(self.network, self.device)

    def _build_loss(self) -> nn.Module:
        loss = self.make_loss()
        if not self.enable_deep_supervision:
            return loss
        weights = 0.5 ** np.arange(len(self._get_deep_supervision_scales()))
        # As nnU-Net: the coarsest output is left out; DDP must still see it used.
        weights[-1] = 1e-6 if self.is_ddp and not self._do_i_compile() else 0
        return DeepSupervisionWrapper(loss, weights / weights.sum())  # type: ignore[no-any-return]

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        """AdamW under nnU-Net's polynomial schedule."""
        optimizer = torch.optim.AdamW(self.network.parameters(), self.initial_lr, weight_decay=self.weight_decay)
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(  # noqa: N802
        self,
    ) -> tuple[tuple[float, float], bool, Sequence[int], tuple[int, ...]]:
        """nnU-Net's, with +-5 degrees and left-right mirroring alone, in training and at test time."""
        _, dummy, size, _ = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        self.inference_allowed_mirroring_axes = (COLUMNS,)
        return (-np.pi / 36, np.pi / 36), dummy, size, (COLUMNS,)

    def do_split(self) -> tuple[list[str], list[str]]:
        """The fold of splits_final.json, fetched from nnUNet_raw where it is missing.

        Raises DatasetError as `folds.read_fold` does: nnU-Net's own split, by image, must never happen.
        """
        folder = Path(self.preprocessed_dataset_folder_base)
        fetch(folder, Path(nnUNet_raw.get()) / folder.name if nnUNet_raw.is_set() else None)
        if self.fold == "all":
            train, validation = super().do_split()
        else:
            train, validation = read_fold(folder, self.fold)
        self.print_to_log_file(f"Fold {self.fold}: {len(train)} training and {len(validation)} validation cases.")
        return train, validation

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's step, on a CPU in the precision that it is fastest in (nnU-Net's own stays in float32 there)."""
        with autocast(self.device):
            return super().train_step(batch)  # type: ignore[no-any-return]

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """As `train_step`."""
        with autocast(self.device):
            return super().validation_step(batch)  # type: ignore[no-any-return]

    def save_checkpoint(self, filename: str) -> None:
        """As nnU-Net, but a run that is killed leaves no half-written file."""
        if self.local_rank != 0 or self.disable_checkpointing:
            return
        with atomic(Path(filename)) as temporary:
            super().save_checkpoint(str(temporary))


class MasegTrainerDemo(MasegTrainer):
    """A minute on two cores: a few short epochs, and a final validation of a few cases. For the demo and tests."""

    final_validation_cases = 4

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 5
        self.num_iterations_per_epoch = 20
        self.num_val_iterations_per_epoch = 4

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """nnU-Net's final validation on the first few cases, without mirroring."""
        split, axes = self.do_split, self.inference_allowed_mirroring_axes
        train, validation = split()
        self.do_split = lambda: (train, validation[: self.final_validation_cases])  # type: ignore[method-assign]
        self.inference_allowed_mirroring_axes = None
        try:
            super().perform_actual_validation(save_probabilities)
        finally:
            self.do_split, self.inference_allowed_mirroring_axes = split, axes  # type: ignore[method-assign]


def _clamp(network: nn.Module, images: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Forward pre-hook: VOI units to [0, 1]."""
    image, *others = images
    return image.clamp(0, 1), *others

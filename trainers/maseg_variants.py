"""Variants of MasegTrainer, each a few lines: the paper's Table 4, and what is worth comparing beside it.

MasegTrainer itself is the paper's winner: weighted cross-entropy with 2.0 for the pectoral muscle.
"""

# nnU-Net comes without types:
# mypy: disallow-subclassing-any=False

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from maseg_nnunet.trainers.maseg_trainer import MasegTrainer
from maseg_nnunet.training.augmentation import Recipe
from maseg_nnunet.training.losses import CrossEntropyAndDice, PixelLoss, PlainCrossEntropy, WeightedFocal
from maseg_nnunet.training.patches import TrainingPatches
from maseg_nnunet.training.varied_patches import VariedPatches


class MasegTrainerCE10(MasegTrainer):
    """Weighted cross-entropy, 1.0 for the pectoral muscle."""

    alpha = (1.0, 1.0, 1.0)


class MasegTrainerCE15(MasegTrainer):
    """Weighted cross-entropy, 1.5 for the pectoral muscle."""

    alpha = (1.0, 1.0, 1.5)


class MasegTrainerCE25(MasegTrainer):
    """Weighted cross-entropy, 2.5 for the pectoral muscle."""

    alpha = (1.0, 1.0, 2.5)


class MasegTrainerFocal(MasegTrainer):
    """Weighted focal loss, 2.0 for the pectoral muscle."""

    def make_loss(self) -> PixelLoss:
        """The paper's Eq. 3."""
        return WeightedFocal(self.alpha, ignore_label=self.label_manager.ignore_label)


class MasegTrainerFocal10(MasegTrainerFocal):
    """Weighted focal loss, 1.0 for the pectoral muscle."""

    alpha = (1.0, 1.0, 1.0)


class MasegTrainerFocal15(MasegTrainerFocal):
    """Weighted focal loss, 1.5 for the pectoral muscle."""

    alpha = (1.0, 1.0, 1.5)


class MasegTrainerFocal25(MasegTrainerFocal):
    """Weighted focal loss, 2.5 for the pectoral muscle."""

    alpha = (1.0, 1.0, 2.5)


class MasegTrainerPlainCE(MasegTrainer):
    """The ordinary cross-entropy: a pixel counts for its own class alone."""

    def make_loss(self) -> PixelLoss:
        """-alpha_y log p_y."""
        return PlainCrossEntropy(self.alpha, ignore_label=self.label_manager.ignore_label)


class MasegTrainerNoiseRange(MasegTrainer):
    """Noise of a standard deviation drawn between 0 and 5 % of the range, where Table 3 has 5 % always."""

    recipe = replace(Recipe(), noise=(0.0, 0.05))


class MasegTrainerNoEarlyStopping(MasegTrainer):
    """All 200 epochs; the best weights are kept all the same."""

    patience = None


class MasegTrainerVaried(MasegTrainer):
    """For data of few sources: variety of contrast, of the tissue and of what lies beside it, soft Dice in the loss.

    `make model` trains it. Short epochs, so that a night on a CPU is not needed. The validation images do not have this
    variety: while the learning rate is high, the lowest of their losses may be that of weights which have lost the raw
    look. So no loss counts, for early stopping and the best weights, until the rate is a seventh of the first.
    """

    recipe = replace(Recipe(), rotation=7.0, alpha_affine=25.0, noise=(0.0, 0.05))
    loader: Callable[..., TrainingPatches] = VariedPatches
    length = (120, 100)
    falling: int | None = 80
    counted_from = 70

    def make_loss(self) -> PixelLoss:
        """Cross-entropy and soft Dice."""
        return CrossEntropyAndDice(self.alpha, ignore_label=self.label_manager.ignore_label)


class MasegTrainerDemo(MasegTrainerPlainCE):
    """A minute on two cores: a few short epochs, and a final validation of a few cases. For the demo and tests.

    The ordinary cross-entropy, and muscle in every patch whose image has one: by Eq. 1 a network this small finds the
    muscle after anything from 300 to more than the 1,000 steps it has here, by these two within 200.
    """

    length = (10, 100)
    final_validation_cases = 4

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr = 3e-3
        self.oversample_foreground_percent = 1.0

    def on_train_start(self) -> None:
        """As MasegTrainer, on one thread: for steps this small two lose more in waiting, and a core is left to load."""
        torch.set_num_threads(1)
        super().on_train_start()

"""Variants of MasegTrainer: the paper's Table 4, the packaged model's trainer, and others worth comparing.

MasegTrainer itself is the paper's winner: weighted cross-entropy with 2.0 for the pectoral muscle.
"""

# nnU-Net has no types:
# mypy: disallow-subclassing-any=False

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

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
    """Ordinary cross-entropy: a pixel only counts for its own class."""

    def make_loss(self) -> PixelLoss:
        """-alpha_y log p_y."""
        return PlainCrossEntropy(self.alpha, ignore_label=self.label_manager.ignore_label)


class MasegTrainerNoiseRange(MasegTrainer):
    """Noise with a random standard deviation, from 0 to 5 % of the range. In Table 3 it is always 5 %."""

    recipe = replace(Recipe(), noise=(0.0, 0.05))


class MasegTrainerNoEarlyStopping(MasegTrainer):
    """All 200 epochs. The best weights are kept nevertheless."""

    patience = None


class MasegTrainerVaried(MasegTrainer):
    """For data of few sources: varied contrast, tissue and surroundings of the breast, and soft Dice in the loss.

    `make model` uses it. The epochs are short, so that it can be trained on a CPU. The validation images do not have
    this variety: while the learning rate is high, the weights with the lowest validation loss may have forgotten
    raw-like images. So losses only count, for early stopping and the best weights, once the rate has fallen to a
    seventh of the first.
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
    """For the demo and tests: a few short epochs, and a final validation of a few cases.

    Ordinary cross-entropy, and muscle in every patch whose image has one: with the paper's loss (Eq. 1) a network this
    small may not have found the muscle by the end of so short a training.
    """

    length = (10, 100)
    final_validation_cases = 4
    learning_rate = 3e-3
    muscle_share = 1.0

    def on_train_start(self) -> None:
        """As MasegTrainer, on one thread: two would wait for each other in steps this small. A core is left to load."""
        torch.set_num_threads(1)
        super().on_train_start()

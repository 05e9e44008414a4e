"""The variants: nnU-Net finds each, and each differs from MasegTrainer as its name says."""

from __future__ import annotations

from pathlib import Path

import pytest
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from maseg_nnunet.training.losses import CrossEntropyAndDice, PlainCrossEntropy, WeightedCrossEntropy, WeightedFocal
from tests.trainers.scripted import TIMM_WARNS, make

pytestmark = TIMM_WARNS

VARIANTS = {
    "MasegTrainer": (WeightedCrossEntropy, (1, 1, 2)),
    "MasegTrainerCE10": (WeightedCrossEntropy, (1, 1, 1)),
    "MasegTrainerCE15": (WeightedCrossEntropy, (1, 1, 1.5)),
    "MasegTrainerCE25": (WeightedCrossEntropy, (1, 1, 2.5)),
    "MasegTrainerFocal": (WeightedFocal, (1, 1, 2)),
    "MasegTrainerFocal10": (WeightedFocal, (1, 1, 1)),
    "MasegTrainerFocal15": (WeightedFocal, (1, 1, 1.5)),
    "MasegTrainerFocal25": (WeightedFocal, (1, 1, 2.5)),
    "MasegTrainerPlainCE": (PlainCrossEntropy, (1, 1, 2)),
    "MasegTrainerNoiseRange": (WeightedCrossEntropy, (1, 1, 2)),
    "MasegTrainerNoEarlyStopping": (WeightedCrossEntropy, (1, 1, 2)),
    "MasegTrainerVaried": (CrossEntropyAndDice, (1, 1, 2)),
    "MasegTrainerDemo": (PlainCrossEntropy, (1, 1, 2)),
}

NOISE_RANGE = ("MasegTrainerNoiseRange", "MasegTrainerVaried")

EPOCHS = {"MasegTrainerDemo": 10, "MasegTrainerVaried": 120}


@pytest.mark.parametrize("name", VARIANTS)
def test_nnunet_finds_every_variant(name: str, tiny_base: Path) -> None:
    trainer = make(tiny_base, recursive_find_trainer_class_by_name(name))
    kind, alpha = VARIANTS[name]
    loss = trainer.make_loss()
    assert type(loss) is kind and loss.alpha.tolist() == list(alpha)
    assert trainer.patience == (None if name == "MasegTrainerNoEarlyStopping" else 10)
    assert trainer.recipe.noise == ((0.0, 0.05) if name in NOISE_RANGE else (0.05, 0.05))
    assert trainer.num_epochs == EPOCHS.get(name, 200)
    rate_and_share = (3e-3, 1.0) if name == "MasegTrainerDemo" else (1e-3, 0.33)
    assert (trainer.initial_lr, trainer.oversample_foreground_percent) == rate_and_share

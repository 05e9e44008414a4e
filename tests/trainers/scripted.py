"""A trainer whose validation losses are given, for tests in this process on the tiny data set."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maseg_nnunet.trainers.maseg_trainer import MasegTrainer
from tests.trainers import tiny

# timm, which nnU-Net imports, uses something that PyTorch has deprecated.
TIMM_WARNS = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")


class Scripted(MasegTrainer):
    """Trains for real, but with the validation losses of `script`, and dies in epoch `dies_in`."""

    script: tuple[float, ...] = ()
    dies_in: int | None = None
    patience = 3
    length = (200, 2)

    @cached_property
    def trained(self) -> list[int]:
        """The epochs that were trained."""
        return []

    @cached_property
    def weights(self) -> dict[int, dict[str, torch.Tensor]]:
        """The weights after each epoch."""
        return {}

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self.current_epoch == self.dies_in:
            raise KeyboardInterrupt
        return super().train_step(batch)

    def on_validation_epoch_end(self, outputs: list[dict[str, Any]]) -> None:
        super().on_validation_epoch_end(outputs)
        self.logger.get_checkpoint()["val_losses"][-1] = np.float64(self.script[self.current_epoch])
        self.trained.append(self.current_epoch)
        self.weights[self.current_epoch] = {k: v.clone() for k, v in self.network.state_dict().items()}


def scripted(monkeypatch: pytest.MonkeyPatch, losses: tuple[float, ...], dies_in: int | None = None) -> None:
    """Give the next `Scripted` its losses, and the epoch in which it dies."""
    monkeypatch.setattr(Scripted, "script", losses)
    monkeypatch.setattr(Scripted, "dies_in", dies_in)


def make(base: Path, kind: type[MasegTrainer] = Scripted, fold: Any = 0, **changes: Any) -> Any:
    """A trainer of `kind` for the tiny data set below `base`, with `changes` to its plan."""
    folder = base / "nnUNet_preprocessed" / tiny.DATASET
    plans = json.loads((folder / f"{tiny.PLANS}.json").read_text()) | {"continue_training": False}
    plans["configurations"]["2d"] |= changes
    dataset = json.loads((folder / "dataset.json").read_text())
    return kind(plans, "2d", fold, dataset, torch.device("cpu"))


def log_of(trainer: Any) -> str:
    return Path(trainer.log_file).read_text()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)

"""When a training stops, and which weights it keeps."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from maseg_nnunet.trainers.maseg_trainer import BEST, FINAL, LATEST
from tests.trainers.scripted import TIMM_WARNS, Scripted, log_of, make, same, scripted

pytestmark = TIMM_WARNS


def test_stops_early_and_keeps_the_best_weights(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (3.0, 1.0, 2.0, math.nan, 1.0, 0.1))
    trainer = make(tiny_base)
    trainer.run_training()
    assert trainer.trained == [0, 1, 2, 3, 4]
    output = Path(trainer.output_folder)
    assert (output / "progress.png").stat().st_size > 10_000
    assert not (output / LATEST).exists()
    final = torch.load(output / FINAL, weights_only=True)
    best = torch.load(output / BEST, weights_only=True)
    assert same(final["network_weights"], trainer.weights[1]) and same(best["network_weights"], trainer.weights[1])
    assert not same(trainer.weights[1], trainer.weights[4])
    assert final["current_epoch"] == 5
    assert final["inference_allowed_mirroring_axes"] == (1,)
    log = log_of(trainer)
    assert "No better validation loss for 3 epochs (patience: 3); best was epoch 1." in log
    assert "Early stopping after epoch 4." in log
    assert "The weights of epoch 1 are kept." in log
    assert "train_loss" in log and "Pseudo dice" in log

    again = make(tiny_base)
    again.load_checkpoint(str(output / FINAL))
    before = (output / FINAL).read_bytes()
    again.run_training()
    assert again.trained == []
    assert (output / FINAL).read_bytes() == before
    assert "nothing left to train" in log_of(again)


def test_without_patience_it_trains_to_the_last_epoch(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (1.0, *[2.0] * 9))
    monkeypatch.setattr(Scripted, "patience", None)
    trainer = make(tiny_base)
    trainer.num_epochs = 5
    trainer.run_training()
    assert trainer.trained == [0, 1, 2, 3, 4]


def test_no_loss_counts_while_the_rate_is_high_and_the_last_rate_is_held(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, (0.1, 2.0, 2.0, 2.0, 2.0, 1.0, *[2.0] * 9))
    monkeypatch.setattr(Scripted, "falling", 6)
    monkeypatch.setattr(Scripted, "counted_from", 4)
    trainer = make(tiny_base)
    trainer.run_training()
    assert trainer.trained == list(range(9))
    final = torch.load(Path(trainer.output_folder) / FINAL, weights_only=True)
    assert same(final["network_weights"], trainer.weights[5])
    expected = [1e-3 * (1 - min(epoch, 5) / 6) ** 0.9 for epoch in range(9)]
    assert trainer.logger.get_value("lrs", step=None) == pytest.approx(expected)


def test_losses_that_are_never_finite_leave_no_stale_best(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (math.nan,) * 3)
    trainer = make(tiny_base)
    (Path(trainer.output_folder) / BEST).write_bytes(b"of an earlier run")
    trainer.run_training()
    assert trainer.trained == [0, 1, 2]
    assert same(torch.load(Path(trainer.output_folder) / FINAL)["network_weights"], trainer.weights[2])


def test_without_checkpoints_an_old_best_is_not_this_ones(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (3.0, 1.0, 2.0, 2.0, 2.0))
    make(tiny_base).run_training()
    scripted(monkeypatch, (3.0, 1.0, 2.0, 2.0, 2.0))
    trainer = make(tiny_base)
    trainer.disable_checkpointing = True
    trainer.run_training()
    assert same(trainer.network.state_dict(), trainer.weights[4])
    assert (Path(trainer.output_folder) / FINAL).is_file()

"""A training by nnU-Net's own command: killed within an epoch, continued, and continued again when finished."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from tests.trainers import tiny

TRAINER = '''
from maseg_nnunet.trainers.maseg_trainer import MasegTrainer

class TinyTrainer(MasegTrainer):
    """Short epochs. Early stopping sees the best validation loss in epoch 1."""
    patience = 4
    length = (200, 6)

    def on_validation_epoch_end(self, outputs):
        super().on_validation_epoch_end(outputs)
        self.logger.get_checkpoint()["val_losses"][-1] = 1.0 + abs(self.current_epoch - 1)
'''


def logs(output: Path) -> list[str]:
    return [
        path.read_text() for path in sorted(output.glob("training_log_*.txt"), key=lambda path: path.stat().st_mtime)
    ]


def epochs(log: str) -> list[int]:
    return [int(number) for number in re.findall(r"Epoch (\d+) *$", log, re.MULTILINE)]


@pytest.mark.slow
def test_a_killed_training_goes_on_where_it_was_and_stops_where_it_would_have(tiny_base: Path, tmp_path: Path) -> None:
    trainers = tmp_path / "trainers"
    trainers.mkdir()
    (trainers / "tiny_trainer.py").write_text(TRAINER)
    environment = tiny.full_environment(tiny_base) | {"nnUNet_extTrainer": str(trainers), "OMP_NUM_THREADS": "1"}
    arguments = [tiny.command("nnUNetv2_train"), tiny.NUMBER, "2d", "0", "-p", tiny.PLANS, "-tr", "TinyTrainer"]
    arguments += ["-device", "cpu"]
    output = tiny_base / "nnUNet_results" / tiny.DATASET / f"TinyTrainer__{tiny.PLANS}__2d" / "fold_0"

    with (tmp_path / "first.txt").open("w") as console:
        first = subprocess.Popen(arguments, env=environment, stdout=console, stderr=console, start_new_session=True)
        try:
            deadline = time.monotonic() + 300
            while not (output.is_dir() and any(3 in epochs(log) for log in logs(output))):
                assert first.poll() is None and time.monotonic() < deadline, (tmp_path / "first.txt").read_text()
                time.sleep(0.02)
        finally:
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()
    assert epochs(logs(output)[0])[-1] == 3
    latest = torch.load(output / "checkpoint_latest.pth", weights_only=True)
    finished = latest["current_epoch"]
    # Killed within epoch 3 or right after it. Only finished epochs count.
    assert finished in (3, 4) and len(latest["logging"]["val_losses"]) == finished

    subprocess.run([*arguments, "--c"], env=environment, check=True, capture_output=True)
    second = logs(output)[-1]
    assert epochs(second) == list(range(finished, 6))
    assert "Early stopping after epoch 5." in second and "best was epoch 1." in second
    assert "Mean Validation Dice" in second
    final = torch.load(output / "checkpoint_final.pth", weights_only=True)
    assert len(final["logging"]["val_losses"]) == final["current_epoch"] == 6
    best = torch.load(output / "checkpoint_best.pth", weights_only=True)
    assert best["current_epoch"] == 2
    assert all(torch.equal(best["network_weights"][key], value) for key, value in final["network_weights"].items())

    subprocess.run([*arguments, "--c"], env=environment, check=True, capture_output=True)
    assert epochs(logs(output)[-1]) == []
    assert "nothing left to train" in logs(output)[-1]

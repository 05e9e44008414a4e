"""Draw progress.png: the course of a training and the epoch whose weights are kept. It replaces nnU-Net's picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from maseg_nnunet.files import atomic
from maseg_nnunet.training.early_stopping import Progress


def draw_progress(path: Path, log: Mapping[str, Sequence[Any]], progress: Progress, classes: Sequence[str]) -> None:
    """Draw three panels: losses, pseudo-Dice, and duration of an epoch with the learning rate.

    The best epoch is marked in the first two.

    Args:
        path: The picture, PNG. It is written atomically.
        log: The values of nnU-Net's logger, one per epoch: train_losses, val_losses, dice_per_class_or_region,
            epoch_start_timestamps, epoch_end_timestamps and lrs.
        progress: What `judge` says about the losses.
        classes: Names of the foreground classes, in the order of the Dice values.
    """
    epochs = range(len(log["val_losses"]))
    figure = Figure(figsize=(9, 11), layout="constrained")
    FigureCanvasAgg(figure)
    losses, dice, time = figure.subplots(3, 1, sharex=True)
    losses.plot(epochs, log["train_losses"], color="C0", label="training loss")
    losses.plot(epochs, log["val_losses"], color="C3", label="validation loss")
    losses.set_ylabel("loss")
    for index, name in enumerate(classes):
        dice.plot(epochs, [values[index] for values in log["dice_per_class_or_region"]], label=name)
    dice.set_ylabel("pseudo-Dice of the validation patches")
    dice.set_ylim(0, 1)
    if progress.best is not None:
        note = ", training stopped" if progress.stop else ""
        for axes in (losses, dice):
            axes.axvline(progress.best, color="0.4", linestyle="--", label=f"best epoch: {progress.best}{note}")
    if progress.stop and epochs:
        losses.axvline(epochs[-1], color="0.4", linestyle=":", label=f"no better for {progress.stale} epochs")
    ends, starts = log["epoch_end_timestamps"], log["epoch_start_timestamps"]
    time.plot(epochs, [end - start for end, start in zip(ends, starts, strict=False)], color="C2")
    time.set_ylabel("seconds an epoch", color="C2")
    time.set_ylim(bottom=0)
    time.set_xlabel("epoch")
    rate = time.twinx()
    rate.plot(epochs, list(log["lrs"])[: len(epochs)], color="C4")
    rate.set_ylabel("learning rate", color="C4")
    for axes in (losses, dice):
        axes.legend(loc="best")
        axes.grid(alpha=0.3)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=80)

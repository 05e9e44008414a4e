"""The paper's rule for when training stops. It depends on the validation losses alone.

nnU-Net's logger has the losses. Every checkpoint contains the logger, so patience is right after resuming. All ranks
have the same values, so they make the same decision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a training run is after its last epoch.

    Attributes:
        best: Epoch of the lowest validation loss that counts, from 0. None if none was finite yet.
        stale: Number of epochs since the best; all that count if there is no best.
        improved: Whether the last epoch is the best.
        stop: Whether training must stop because patience is used up.
    """

    best: int | None
    stale: int
    improved: bool
    stop: bool


def judge(losses: Sequence[float], patience: int | None, counted_from: int = 0) -> Progress:
    """Judge a run by its validation losses: stop if the loss "did not improve for 10 epochs" (paper, section 2.2.3).

    Args:
        losses: Validation loss of every epoch so far. An equal loss is not an improvement, nor is one that is not
            finite.
        patience: Number of epochs without improvement after which training stops, None for never.
        counted_from: First epoch whose loss counts.

    Returns:
        How far the run is.
    """
    counted = range(counted_from, len(losses))
    best = min(counted, key=lambda epoch: _or_infinite(losses[epoch]), default=None)
    if best is None or not math.isfinite(losses[best]):
        best = None
    stale = len(counted) if best is None else len(losses) - 1 - best
    return Progress(
        best=best,
        stale=stale,
        improved=best is not None and stale == 0,
        stop=patience is not None and stale >= patience and len(counted) > 0,
    )


def _or_infinite(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf

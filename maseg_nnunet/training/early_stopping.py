"""When training stops: the paper's rule, as a function of the validation losses and nothing else.

The losses are in nnU-Net's logger, which every checkpoint holds and which has the same values on all ranks; so a run
that goes on from a checkpoint has the right patience, and all ranks decide alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Where a run stands after its last epoch.

    `best`: epoch of the lowest validation loss that counts, None before there was a finite one. `stale`: epochs since
    then. `improved`: whether the last epoch is the best. `stop`: whether patience is used up.
    """

    best: int | None
    stale: int
    improved: bool
    stop: bool


def judge(losses: Sequence[float], patience: int | None, counted_from: int = 0) -> Progress:
    """Judge a run by its validation loss of every epoch so far.

    Training stops once the loss "did not improve for 10 epochs" (paper, section 2.2.3): `patience` is that number, None
    for never. Equal is no improvement, and neither is a loss that is not finite. Epochs before `counted_from` count for
    nothing.
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

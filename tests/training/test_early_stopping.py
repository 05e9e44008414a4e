from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maseg_nnunet.training.early_stopping import Progress, judge

LOSSES = st.lists(st.floats(0, 10) | st.just(math.nan) | st.just(math.inf), max_size=40)


def slow(losses: list[float], patience: int, counted_from: int = 0) -> int | None:
    """The epoch after which training stops, by walking through the losses as a trainer would."""
    lowest, waited = math.inf, 0
    for epoch, loss in enumerate(losses):
        if epoch < counted_from:
            continue
        if loss < lowest:
            lowest, waited = loss, 0
        else:
            waited += 1
        if waited >= patience:
            return epoch
    return None


def test_before_the_first_epoch() -> None:
    assert judge([], 10) == Progress(best=None, stale=0, improved=False, stop=False)


def test_stops_after_exactly_as_many_epochs_without_improvement() -> None:
    losses = [3.0, 2.0, *[2.5] * 9]
    assert judge(losses, 10) == Progress(best=1, stale=9, improved=False, stop=False)
    assert judge([*losses, 2.5], 10) == Progress(best=1, stale=10, improved=False, stop=True)
    assert judge([*losses, 1.9], 10) == Progress(best=11, stale=0, improved=True, stop=False)


def test_equal_is_no_improvement_and_the_first_of_equals_is_best() -> None:
    assert judge([2.0, 1.0, 1.0], 10) == Progress(best=1, stale=1, improved=False, stop=False)


def test_a_loss_that_is_not_finite_is_never_best() -> None:
    assert judge([math.nan, math.inf], 2) == Progress(best=None, stale=2, improved=False, stop=True)
    assert judge([math.nan, 1.0, math.nan], 2).best == 1


def test_without_patience_training_never_stops() -> None:
    assert judge([1.0, *[2.0] * 500], None) == Progress(best=0, stale=500, improved=False, stop=False)


def test_epochs_before_the_first_that_counts_count_for_nothing() -> None:
    losses = [1.0, *[2.0] * 5]
    assert judge(losses[:3], 3, counted_from=3) == Progress(best=None, stale=0, improved=False, stop=False)
    assert judge(losses[:4], 3, counted_from=3) == Progress(best=3, stale=0, improved=True, stop=False)
    assert judge(losses, 3, counted_from=3) == Progress(best=3, stale=2, improved=False, stop=False)
    assert judge([*losses, 2.0], 3, counted_from=3) == Progress(best=3, stale=3, improved=False, stop=True)


@given(LOSSES, st.integers(1, 12), st.integers(0, 40))
def test_stops_where_a_walk_through_the_losses_does(losses: list[float], patience: int, counted_from: int) -> None:
    stops = [epoch for epoch in range(len(losses)) if judge(losses[: epoch + 1], patience, counted_from).stop]
    assert (stops[0] if stops else None) == slow(losses, patience, counted_from)


@given(LOSSES)
def test_the_best_epoch_was_an_improvement_when_it_came(losses: list[float]) -> None:
    best = judge(losses, 10).best
    if best is None:
        assert not any(math.isfinite(loss) for loss in losses)
    else:
        assert judge(losses[: best + 1], 10).improved
        assert losses[best] == min(loss for loss in losses if math.isfinite(loss))


@pytest.mark.parametrize("seed", range(3))
def test_an_improved_epoch_is_one_whose_weights_are_to_be_kept(seed: int) -> None:
    import random

    losses = [random.Random(seed).random() for _ in range(30)]
    kept = [epoch for epoch in range(30) if judge(losses[: epoch + 1], None).improved]
    assert kept == [epoch for epoch in range(30) if all(losses[epoch] < before for before in losses[:epoch])]

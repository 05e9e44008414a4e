"""The chest wall's side."""

from __future__ import annotations

import numpy as np
import pytest

from maseg_nnunet.chest_wall import chest_wall_is_left, cut_chest_wall, extent


@pytest.mark.parametrize("before", [0, 30])
@pytest.mark.parametrize("after", [0, 50])
def test_black_margins_on_either_side_change_nothing(before: int, after: int) -> None:
    rows, columns = np.indices((200, 90))
    breast = np.pad((rows - 100) ** 2 + columns**2 < 80**2, ((7, 0), (before, after)))
    assert chest_wall_is_left(breast)
    assert not chest_wall_is_left(breast[:, ::-1])
    assert extent(breast) == (slice(28, 187), slice(before, before + 80))


def test_a_wall_that_slants_a_little_is_one() -> None:
    rows, columns = np.indices((200, 120))
    breast = ((rows - 100) ** 2 + columns**2 < 80**2) & (columns > rows / 60)
    assert chest_wall_is_left(breast)
    assert not chest_wall_is_left(breast[:, ::-1])


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_cut_leaves_the_rest_as_it_is_and_black_beyond(mirrored: bool) -> None:
    rows, columns = np.indices((200, 150))
    labels = np.where((rows - 100) ** 2 + (columns - 20) ** 2 < 80**2, 1, -1).astype(np.int16)
    labels[:, :20] = 0
    labels[(labels > 0) & (rows + columns < 100)] = 2
    rng = np.random.default_rng(0)
    image = rng.uniform(0.2, 0.9, labels.shape).astype(np.float32)
    depths = []
    for _ in range(200):
        units, classes = cut_chest_wall(*((image[:, ::-1], labels[:, ::-1]) if mirrored else (image, labels)), rng)
        assert units.dtype == np.float32 and classes.dtype == labels.dtype
        if mirrored:
            units, classes = units[:, ::-1], classes[:, ::-1]
        first = int(np.flatnonzero((classes > 0).any(axis=0))[0])
        assert (units[:, :first] == 0).all() and (classes[:, :first] == 0).all()
        assert np.array_equal(units[:, first:], image[:, first:])
        assert np.array_equal(classes[:, first:], labels[:, first:])
        depths.append(first - 20)
    assert min(depths) == 0 and 35 <= max(depths) <= 40
    assert np.median(depths) < 15


def test_without_a_breast_nothing_is_cut() -> None:
    image, labels = np.ones((20, 10), np.float32), np.zeros((20, 10), np.int16)
    assert cut_chest_wall(image, labels, np.random.default_rng(0)) == (image, labels)

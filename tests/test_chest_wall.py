"""The chest wall's side."""

from __future__ import annotations

import numpy as np
import pytest

from maseg_nnunet.chest_wall import beyond_chest_wall, chest_wall_is_left, extent


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


def test_of_a_triangle_it_is_the_long_side() -> None:
    breast = np.tri(50, 40, dtype=bool)
    assert chest_wall_is_left(breast)
    assert not chest_wall_is_left(breast[:, ::-1])


def test_beyond_a_slanting_wall_lies_what_no_row_of_the_breast_reaches() -> None:
    rows, columns = np.indices((200, 120))
    breast = ((rows - 100) ** 2 + columns**2 < 80**2) & (columns > rows / 20)
    expected = np.zeros_like(breast)
    for row in range(200):
        nearest = min(np.flatnonzero(breast.any(axis=1)), key=lambda other: abs(other - row))
        expected[row, : np.flatnonzero(breast[nearest])[0]] = True
    assert expected[:, 0].all() and not expected[:, 15:].any()
    np.testing.assert_array_equal(beyond_chest_wall(breast), expected)
    np.testing.assert_array_equal(beyond_chest_wall(breast[:, ::-1]), expected[:, ::-1])

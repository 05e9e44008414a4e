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


@pytest.mark.parametrize("degrees", [-14, -9, -1, 5, 10, 16])
def test_a_wall_that_slants_is_one(degrees: int) -> None:
    # A breast that is no wider than its skin is straight in the middle, as those that hang are.
    y, x = np.indices((200, 160)) - np.array([100, 50])[:, None, None]
    turned = np.radians(degrees)
    depth, along = x * np.cos(turned) - y * np.sin(turned), y * np.cos(turned) + x * np.sin(turned)
    breast = (depth >= 0) & (np.abs(along / 70) ** 3 + (depth / 50) ** 3 < 1)
    assert chest_wall_is_left(breast)
    assert not chest_wall_is_left(breast[:, ::-1])


def test_of_a_triangle_it_is_the_long_side() -> None:
    breast = np.tri(50, 40, dtype=bool)
    assert chest_wall_is_left(breast)
    assert not chest_wall_is_left(breast[:, ::-1])


def test_beyond_a_slanting_wall_lies_what_no_row_of_the_breast_reaches() -> None:
    rows, columns = np.indices((200, 120))
    slope = np.tan(np.radians(4))
    breast = ((rows - 100) ** 2 + columns**2 < 80**2) & (columns > rows * slope)
    found = beyond_chest_wall(breast)
    seen = breast.any(axis=1)
    np.testing.assert_array_equal(found[seen], (columns <= rows * slope)[seen])
    # Above and below the breast, to a pixel or two, the same line.
    np.testing.assert_allclose(found.sum(axis=1), rows[:, 0] * slope, atol=2)
    np.testing.assert_array_equal(beyond_chest_wall(breast[:, ::-1]), found[:, ::-1])


def test_air_under_a_breast_that_hangs_is_not_beyond_the_wall() -> None:
    rows, columns = np.indices((200, 120))
    breast = ((rows - 90) ** 2 + (columns - 10) ** 2 < 70**2) & (columns >= 10)
    breast |= (rows - 150) ** 2 + (columns - 60) ** 2 < 20**2
    found = beyond_chest_wall(breast)
    assert found[:, :10].all() and breast[165].argmax() > 40
    np.testing.assert_array_equal(found.nonzero()[1].max(), 9)

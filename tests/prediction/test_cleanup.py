"""Cleaning up masks: compared with a slow reference that works on pixels, and on drawn masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from maseg_nnunet.chest_wall import chest_wall_is_left
from maseg_nnunet.labels import Label
from maseg_nnunet.mammogram import Side, View
from maseg_nnunet.prediction.cleanup import REACH, keep_largest
from maseg_nnunet.synthetic.phantom import make_phantom

Mask = npt.NDArray[np.uint8]
EIGHT = np.ones((3, 3), dtype=int)


def reference(mask: Mask) -> tuple[Mask, bool]:
    """Apply the same rules pixel by pixel. Also returns whether two components tied, so that either could stay."""
    result = mask.copy()
    labels, count = ndimage.label(result > 0, EIGHT)
    tied = False
    if count:
        areas = np.bincount(labels.ravel())[1:]
        tied |= np.count_nonzero(areas == areas.max()) > 1
        result[labels != 1 + int(np.argmax(areas))] = 0
    holes, count = ndimage.label(result == 0)
    for number in range(1, count + 1):
        hole = holes == number
        if not result.any() or hole[0].any() or hole[-1].any() or hole[:, -1 if wall_is_left(result) else 0].any():
            continue
        ring = ndimage.binary_dilation(hole) & ~hole
        result[hole] = Label.BREAST if (result[ring] == Label.BREAST).any() else Label.PECTORAL_MUSCLE
    labels, count = ndimage.label(result == Label.PECTORAL_MUSCLE, EIGHT)
    if count:
        near = near_chest_wall(result)
        areas = [int((labels == n).sum()) if near[labels == n].any() else 0 for n in range(1, count + 1)]
        best = int(np.argmax(areas))
        tied |= areas.count(areas[best]) > 1 and areas[best] > 0
        for number in range(1, count + 1):
            if number != best + 1 or areas[best] == 0:
                result[labels == number] = Label.BREAST
    return result, tied


def outline(mask: Mask) -> tuple[list[npt.NDArray[np.intp]], int]:
    """The columns of the breast in each row, and its width."""
    rows = [np.flatnonzero(row) for row in mask]
    return rows, max(row[-1] for row in rows if len(row)) - min(row[0] for row in rows if len(row)) + 1


def wall_is_left(mask: Mask) -> bool:
    return chest_wall_is_left(mask != Label.BACKGROUND)


def near_chest_wall(mask: Mask) -> npt.NDArray[np.bool_]:
    rows, width = outline(mask)
    near = np.zeros(mask.shape, dtype=bool)
    for index, row in enumerate(rows):
        if not len(row):
            continue
        # A run is near if its end is near, so marking the near pixels marks a pixel of each near run.
        order = row if wall_is_left(mask) else row[::-1]
        edge = order[0]
        for column in order:
            if abs(int(column) - int(edge)) <= REACH * width:
                near[index, column] = True
    return near


@settings(max_examples=300, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=st.integers(0, 2)))
def test_the_rules_hold_for_any_mask(mask: Mask) -> None:
    expected, tied = reference(mask)
    if not tied:
        np.testing.assert_array_equal(keep_largest(mask), expected)


@settings(max_examples=50, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 2)))
def test_the_muscle_is_never_painted_over_by_a_hole_and_nothing_is_cleaned_twice(mask: Mask) -> None:
    once = keep_largest(mask)
    np.testing.assert_array_equal(keep_largest(once), once)


@pytest.mark.parametrize("side", [Side.LEFT, Side.RIGHT])
@pytest.mark.parametrize("view", [View.CC, View.MLO])
def test_a_clean_mask_comes_back_as_it_is(view: View, side: Side) -> None:
    for seed in range(2):
        mask = make_phantom(seed, view, side, rows=300, columns=240, spacing=(0.8, 0.8), muscle=True).mask
        assert keep_largest(mask) is mask


def drawn() -> Mask:
    """A left breast with its muscle in the upper corner, without any error."""
    mask = np.zeros((60, 40), dtype=np.uint8)
    y, x = np.mgrid[:60, :40]
    mask[((y - 29.5) / 27) ** 2 + (x / 27) ** 2 < 1] = Label.BREAST
    for row in range(4, 30):
        mask[row, : (30 - row) // 2] *= np.uint8(Label.PECTORAL_MUSCLE)
    return mask


def spoilt(mask: Mask, where: Any, label: Label) -> Mask:
    copy = mask.copy()
    copy[where] = label
    return copy


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(
    ("where", "label"),
    [
        pytest.param(np.s_[2:9, 33:38], Label.BREAST, id="a marker labelled as breast"),
        pytest.param(np.s_[40:44, 10:14], Label.BACKGROUND, id="a hole in the breast"),
        pytest.param(np.s_[8:10, 3:6], Label.BACKGROUND, id="a hole in the muscle"),
        pytest.param(np.s_[38:46, :6], Label.BACKGROUND, id="a hole at the image's edge at the chest wall"),
        pytest.param(np.s_[40:48, 8:14], Label.PECTORAL_MUSCLE, id="a dense spot labelled as muscle"),
        pytest.param(np.s_[50:58, 33:39], Label.PECTORAL_MUSCLE, id="a marker labelled as muscle"),
    ],
)
def test_what_is_wrong_is_put_right(where: Any, label: Label, mirrored: bool) -> None:
    mask, broken = drawn(), spoilt(drawn(), where, label)
    if mirrored:
        mask, broken = mask[:, ::-1], broken[:, ::-1]
    np.testing.assert_array_equal(keep_largest(broken), mask)


def test_a_hole_between_breast_and_muscle_becomes_breast_and_the_muscle_stays() -> None:
    broken = spoilt(drawn(), np.s_[14:17, 5:12], Label.BACKGROUND)
    cleaned = keep_largest(broken)
    np.testing.assert_array_equal(cleaned == Label.PECTORAL_MUSCLE, broken == Label.PECTORAL_MUSCLE)
    np.testing.assert_array_equal(cleaned > 0, drawn() > 0)


def test_a_film_s_chest_wall_may_lie_inside_the_image() -> None:
    mask = np.pad(drawn(), ((0, 0), (15, 0)))
    assert keep_largest(mask) is mask


def test_an_empty_mask_stays_empty() -> None:
    mask = np.zeros((5, 7), dtype=np.uint8)
    assert keep_largest(mask) is mask

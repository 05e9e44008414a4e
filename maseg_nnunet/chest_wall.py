"""Find the chest wall in a mammogram, from the outline of the breast alone.

Gray values do not help: films have black margins on both sides, and raw images may have white air.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from maseg_nnunet.arrays import Indices, Region

SLOPES: Final = np.tan(np.radians([0, 2, -2, 4, -4, 6, -6, 8, -8, 10, -10, 12, -12, 14, -14, 16, -16]))
"""Slopes of a chest wall that are tried, in columns per row. Patches are rotated and sheared, and women lean."""

SIDE_TOLERANCE: Final = 0.02
"""How far an edge may deviate from a straight line when two sides are compared, as a share of the breast's width."""

LINE_TOLERANCE: Final = 0.05
"""The same for the line of the wall itself. It is larger, because rows a little off the line begin at the wall too."""


def chest_wall_is_left(breast: Region) -> bool:
    """Find the side on which the outline of a breast is straight.

    Args:
        breast: Breast and pectoral muscle, bool (rows, columns); not empty.

    Returns:
        True if the chest wall is on the left, False if it is on the right.
    """
    return straight_edge_is_left(*_edges(breast))


def straight_edge_is_left(rows: Indices, first: Indices, last: Indices) -> bool:
    """Like `chest_wall_is_left`, for an outline.

    Args:
        rows: Numbers of the rows with breast, at least one.
        first: Column of the first pixel of the breast in each of these rows.
        last: Column of the last pixel of the breast in each of these rows.

    Returns:
        True if at least as many rows begin on one straight line as end on one.
    """
    tolerance = _tolerance(SIDE_TOLERANCE, first, last)
    return len(_straightest(rows, first, tolerance)[0]) >= len(_straightest(rows, -last, tolerance)[0])


def beyond_chest_wall(breast: Region) -> Region:
    """Find the pixels beyond the chest wall, where an image shows nothing of the breast.

    In a row whose breast begins at the wall, they are all pixels up to the breast. In other rows they end at the line
    of the wall, because air may be between wall and breast: above, below, or in a fold.

    Args:
        breast: Breast and pectoral muscle, bool (rows, columns); not empty.

    Returns:
        bool (rows, columns), True beyond the wall.
    """
    is_left = chest_wall_is_left(breast)
    seen = breast if is_left else breast[:, ::-1]
    rows, first, last = _edges(seen)
    chosen, slope, offset = _straightest(rows, first, _tolerance(LINE_TOLERANCE, first, last))
    wall = slope * np.arange(len(seen)) + offset
    wall[rows[chosen]] = first[chosen]
    beyond = (np.arange(seen.shape[1]) < wall[:, None]) & ~seen
    return np.asarray(beyond if is_left else beyond[:, ::-1])


def extent(region: Region) -> tuple[slice, slice]:
    """Rows and columns of the bounding box of `region`, bool (rows, columns), which must not be empty."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _edges(breast: Region) -> tuple[Indices, Indices, Indices]:
    """The rows with breast, and the first and last column of the breast in each."""
    rows = np.flatnonzero(breast.any(axis=1))
    seen = breast[rows]
    return rows, seen.argmax(axis=1), breast.shape[1] - 1 - seen[:, ::-1].argmax(axis=1)


def _tolerance(share: float, first: Indices, last: Indices) -> float:
    return float(max(share * (last.max() - first.min()), 1))


def _straightest(rows: Indices, edge: Indices, tolerance: float) -> tuple[Indices, float, float]:
    """The straight line that has the most points of an edge: these points, and the line's slope and offset."""
    best: tuple[Indices, float, float] = rows[:0], 0.0, 0.0
    for slope in SLOPES:
        offsets = edge - slope * rows
        order = np.argsort(offsets, kind="stable")
        ends = np.searchsorted(offsets[order], offsets[order] + tolerance, side="right")
        start = int(np.argmax(ends - np.arange(len(rows))))
        chosen = order[start : ends[start]]
        if len(chosen) > len(best[0]):
            best = chosen, float(slope), float(np.median(offsets[chosen]))
    return best

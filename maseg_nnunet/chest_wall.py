"""Where the chest wall is in a mammogram, from the outline of the breast alone.

The gray values do not help: films have black margins on both sides, and raw images may have white air.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from maseg_nnunet.arrays import Indices, Region

SLOPES: Final = np.tan(np.radians([0, 2, -2, 4, -4, 6, -6, 8, -8, 10, -10, 12, -12, 14, -14, 16, -16]))
"""Slants of a chest wall, in columns per row: patches are rotated and sheared, and a woman does not stand straight."""

SIDE_TOLERANCE: Final = 0.02
"""Share of the breast's width that an edge may deviate from a straight line when the two sides are compared."""

LINE_TOLERANCE: Final = 0.05
"""The same when the line of the wall itself is drawn: rows a little off the line begin at the wall, too."""


def chest_wall_is_left(breast: Region) -> bool:
    """Say on which side the outline of a breast is straight.

    Args:
        breast: bool (rows, columns), breast and pectoral muscle; not empty.

    Returns:
        True if the chest wall is on the left, False if it is on the right.
    """
    return straight_edge_is_left(*_edges(breast))


def straight_edge_is_left(rows: Indices, first: Indices, last: Indices) -> bool:
    """Answer the question of `chest_wall_is_left` for an outline.

    Args:
        rows: row numbers in which the breast is seen, at least one.
        first: column of its first pixel in each of these rows.
        last: column of its last pixel in each of these rows.

    Returns:
        True if more rows begin on one straight line than end on one.
    """
    tolerance = _tolerance(SIDE_TOLERANCE, first, last)
    return len(_straightest(rows, first, tolerance)[0]) >= len(_straightest(rows, -last, tolerance)[0])


def beyond_chest_wall(breast: Region) -> Region:
    """Find the pixels on the other side of the chest wall, which no image shows.

    In a row where the breast begins at the wall, these are the pixels up to the breast. In other rows there may be air
    between the wall and the breast (above and below it, or where it hangs or folds): there they end at the wall's line.

    Args:
        breast: bool (rows, columns), breast and pectoral muscle; not empty.

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
    """Return the rows and the columns of the bounding box of `region`, bool (rows, columns), which is not empty."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _edges(breast: Region) -> tuple[Indices, Indices, Indices]:
    """Rows with breast, and the first and the last column of the breast in each."""
    rows = np.flatnonzero(breast.any(axis=1))
    seen = breast[rows]
    return rows, seen.argmax(axis=1), breast.shape[1] - 1 - seen[:, ::-1].argmax(axis=1)


def _tolerance(share: float, first: Indices, last: Indices) -> float:
    return float(max(share * (last.max() - first.min()), 1))


def _straightest(rows: Indices, edge: Indices, tolerance: float) -> tuple[Indices, float, float]:
    """The straight line with the most points of an edge on it: these points, and the line's slope and offset."""
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

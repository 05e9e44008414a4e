"""Where in a mammogram the chest wall lies, by the breast's outline alone."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import FloatArray, Region

SLOPES: Final = np.tan(np.radians([0, 4, -4, 8, -8, 12, -12, 16, -16]))
"""How far a chest wall may slant, in columns a row: patches are rotated and sheared, and women don't stand straight."""


def chest_wall_is_left(breast: Region) -> bool:
    """Whether `breast`, bool (rows, columns), not empty, is straight on its left.

    Films have black margins, so it is the breast's own outline that tells.
    """
    return _straightest(breast)[0] >= _straightest(breast[:, ::-1])[0]


def beyond_chest_wall(breast: Region) -> Region:
    """The pixels on the chest wall's side of `breast`, bool (rows, columns), not empty: none is of an image.

    Up to the breast in the rows where it begins at the wall; up to the wall's line in the others, where there may be
    air between: above and below the breast, and where it hangs or folds.
    """
    left, right = _straightest(breast), _straightest(breast[:, ::-1])
    is_left = left[0] >= right[0]
    seen = breast if is_left else breast[:, ::-1]
    _, wall, rows = left if is_left else right
    wall[rows] = seen[rows].argmax(axis=1)
    beyond = (np.arange(breast.shape[1]) < wall[:, None]) & ~seen
    return np.asarray(beyond if is_left else beyond[:, ::-1])


def extent(region: Region) -> tuple[slice, slice]:
    """The rows and columns of the bounding box of `region`, which is not empty."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _straightest(breast: Region) -> tuple[int, FloatArray, npt.NDArray[np.intp]]:
    """The line that the most rows of `breast` begin at, seen from the left, to a twentieth of the breast's width.

    How many rows, the line's column in every row, and which rows they are.
    """
    rows, columns = np.flatnonzero(breast.any(axis=1)), np.flatnonzero(breast.any(axis=0))
    begins = breast[rows].argmax(axis=1)
    tolerance = max((columns[-1] - columns[0]) / 20, 1)
    best = 0, np.zeros(len(breast)), rows
    for slope in SLOPES:
        offsets = begins - slope * rows
        order = np.argsort(offsets, kind="stable")
        ends = np.searchsorted(offsets[order], offsets[order] + tolerance, side="right")
        first = int(np.argmax(ends - np.arange(len(rows))))
        chosen = order[first : ends[first]]
        if len(chosen) > best[0]:
            best = len(chosen), slope * np.arange(len(breast)) + np.median(offsets[chosen]), rows[chosen]
    return best

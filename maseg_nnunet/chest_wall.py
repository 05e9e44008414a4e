"""On which side of a mammogram the chest wall lies, by the breast's outline alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Region = npt.NDArray[np.bool_]


def chest_wall_is_left(breast: Region) -> bool:
    """Whether `breast`, bool (rows, columns), not empty, is straight on its left.

    The chest wall is where more of the breast lies near its own extent, not the image's: films have black margins.
    """
    rows, columns = extent(breast)
    inside = breast[rows, columns]
    edge = max(inside.shape[1] // 20, 1)
    return bool(inside[:, :edge].sum() >= inside[:, -edge:].sum())


def extent(region: Region) -> tuple[slice, slice]:
    """The rows and columns of the bounding box of `region`, which is not empty."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

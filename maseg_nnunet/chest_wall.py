"""Where in a mammogram the chest wall lies, by the breast's outline alone."""

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


def beyond_chest_wall(breast: Region) -> Region:
    """The pixels on the chest wall's side of `breast`, bool (rows, columns), not empty: none is of an image.

    Row by row, for a wall may slant; above and below the breast as in its nearest row.
    """
    rows, columns = np.flatnonzero(breast.any(axis=1)), np.arange(breast.shape[1])
    every = np.arange(len(breast))
    if chest_wall_is_left(breast):
        first = np.interp(every, rows, breast[rows].argmax(axis=1))
        return np.asarray(columns < first[:, None])
    last = np.interp(every, rows, breast.shape[1] - 1 - breast[rows, ::-1].argmax(axis=1))
    return np.asarray(columns > last[:, None])


def extent(region: Region) -> tuple[slice, slice]:
    """The rows and columns of the bounding box of `region`, which is not empty."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

"""On which side of a mammogram the chest wall lies, by the breast's outline alone; and images that show less of it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from maseg_nnunet.labels import Label

Region = npt.NDArray[np.bool_]
Image = npt.NDArray[np.float32]
Labels = npt.NDArray[Any]

MOST_CUT: Final = 0.5
"""Share of the breast's width that is cut off at most."""


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
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def cut_chest_wall(units: Image, labels: Labels, rng: np.random.Generator) -> tuple[Image, Labels]:
    """`units` (VOI units, float32) and `labels` (integers), both (rows, columns), with less of the breast in view.

    As if the breast had been pulled less far onto the detector, or as if the film had ended there: what lies up to a
    random column near the chest wall becomes black background. Shallow cuts are more frequent than deep ones.
    Unchanged without a breast.
    """
    breast = labels > Label.BACKGROUND
    if not breast.any():
        return units, labels
    _, columns = extent(breast)
    depth = round(MOST_CUT * rng.uniform() ** 2 * (columns.stop - columns.start))
    if chest_wall_is_left(breast):
        lost = slice(0, columns.start + depth)
    else:
        lost = slice(columns.stop - depth, units.shape[1])
    units, labels = units.copy(), labels.copy()
    units[:, lost] = 0
    labels[:, lost] = Label.BACKGROUND
    return units, labels

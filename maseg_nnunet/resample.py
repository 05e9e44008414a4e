"""The one mapping between a source grid and the grid of a given spacing, used both ways.

Both grids share the outer corner of their first pixel. With spacing s (source) and t (target), in mm, the centre of
target pixel i lies at (i + 0.5)·t from that corner, which is source index (i + 0.5)·t/s - 0.5; the target has
ceil(n·s/t) pixels, so it covers the source's whole extent. Spacing is (row, column), arrays are (rows, columns).
Outside the outermost pixel centres the nearest pixel is repeated.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import FloatArray, Image, Mask, Spacing

_SLACK = 1e-6


def target_shape(shape: tuple[int, int], spacing: Spacing, target: Spacing) -> tuple[int, int]:
    """(rows, columns) of the grid with spacing `target` that covers `shape` at `spacing`."""
    rows, columns = (max(1, math.ceil(n * s / t - _SLACK)) for n, s, t in zip(shape, spacing, target, strict=True))
    return rows, columns


def image_to_target(image: npt.NDArray[Any], spacing: Spacing, target: Spacing) -> Image:
    """Stored values (rows, columns) of any numeric type to the target grid, linearly; float32.

    Only the two source rows and columns that a target pixel lies between are touched, as the paper's linear
    resampling does: no low-pass filter.
    """
    shape = (int(image.shape[0]), int(image.shape[1]))
    return _linearly(image, target_shape(shape, spacing, target), (target[0] / spacing[0], target[1] / spacing[1]))


def mask_to_target(mask: Mask, spacing: Spacing, target: Spacing) -> Mask:
    """Labels (rows, columns) to the target grid, nearest source pixel; uint8."""
    shape = (int(mask.shape[0]), int(mask.shape[1]))
    rows, columns = target_shape(shape, spacing, target)
    return np.ascontiguousarray(
        mask[_nearest(rows, shape[0], target[0] / spacing[0])][:, _nearest(columns, shape[1], target[1] / spacing[1])]
    )


def image_to_source(
    image: Image,
    shape: tuple[int, int],
    spacing: Spacing,
    target: Spacing,
    origin: Spacing = (0.0, 0.0),
) -> Image:
    """One channel (rows, columns) on the target grid, such as a logit, linearly to the source grid `shape`; float32.

    `origin`: (row, column) in mm of the outer corner of `image` from the source's, where it is a part cut out of it.
    """
    start = origin[0] / target[0], origin[1] / target[1]
    return _linearly(image, shape, (spacing[0] / target[0], spacing[1] / target[1]), start)


def mask_to_source(mask: Mask, shape: tuple[int, int], spacing: Spacing, target: Spacing) -> Mask:
    """Labels on the target grid to the source grid `shape`, nearest target pixel; uint8."""
    rows = _nearest(shape[0], mask.shape[0], spacing[0] / target[0])
    columns = _nearest(shape[1], mask.shape[1], spacing[1] / target[1])
    return np.ascontiguousarray(mask[rows][:, columns])


def _positions(count: int, ratio: float) -> FloatArray:
    """Index in the other grid of each of `count` pixel centres; `ratio` is own spacing over the other's."""
    return np.asarray((np.arange(count) + 0.5) * ratio - 0.5, dtype=np.float64)


def _nearest(count: int, other: int, ratio: float) -> npt.NDArray[np.intp]:
    # floor of position + 0.5, the slack so that a centre on an edge does not depend on the last bit
    return np.clip(np.floor(_positions(count, ratio) + 0.5 + _SLACK), 0, other - 1).astype(np.intp)


def _neighbours(
    count: int, other: int, ratio: float, start: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Image]:
    position = np.clip(_positions(count, ratio) - start, 0, other - 1)
    before = np.floor(position).astype(np.intp)
    after = np.minimum(before + 1, other - 1)
    return before, after, (position - before).astype(np.float32)


def _linearly(
    image: npt.NDArray[Any],
    shape: tuple[int, int],
    ratio: tuple[float, float],
    start: tuple[float, float] = (0.0, 0.0),
) -> Image:
    """`image` at the pixel centres of a grid of `shape`; not by OpenCV, whose weights are coarse fractions."""
    upper, lower, down = _neighbours(shape[0], image.shape[0], ratio[0], start[0])
    left, right, across = _neighbours(shape[1], image.shape[1], ratio[1], start[1])
    # Columns are gathered from each of the two row sets first: the full-resolution image is never converted.
    top, bottom = image.take(upper, 0), image.take(lower, 0)
    above = _mix(top.take(left, 1), top.take(right, 1), across[None, :])
    below = _mix(bottom.take(left, 1), bottom.take(right, 1), across[None, :])
    return _mix(above, below, down[:, None])


def _mix(a: npt.NDArray[Any], b: npt.NDArray[Any], weight: Image) -> Image:
    first, mixed = a.astype(np.float32), b.astype(np.float32)
    mixed -= first
    mixed *= weight
    mixed += first
    return mixed

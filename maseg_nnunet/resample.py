"""The one mapping between a source grid and the grid of a given spacing, used both ways.

Both grids share the outer corner of their first pixel. With spacing s (source) and t (target), in mm, the centre of
target pixel i is (i + 0.5)·t from that corner, which is source index (i + 0.5)·t/s - 0.5. The target has ceil(n·s/t)
pixels, so it covers the source's whole extent. Spacing is (row, column), arrays are (rows, columns). Outside the
outermost pixel centres the nearest pixel is repeated.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import FloatArray, Image, Indices, Mask, Pixels, Shape, Spacing
from maseg_nnunet.labels import Label

_SLACK = 1e-6


def target_shape(shape: Shape, spacing: Spacing, target: Spacing) -> Shape:
    """The shape of the target grid.

    Args:
        shape: Source grid, (rows, columns).
        spacing: Source spacing, mm (row, column).
        target: Target spacing, mm (row, column).

    Returns:
        (rows, columns) of the grid with spacing `target` that covers the source's whole extent; at least (1, 1).
    """
    rows, columns = (max(1, math.ceil(n * s / t - _SLACK)) for n, s, t in zip(shape, spacing, target, strict=True))
    return rows, columns


def image_to_target(image: Pixels, spacing: Spacing, target: Spacing) -> Image:
    """Resample an image linearly to the target grid.

    As in the paper's linear resampling there is no low-pass filter: a target pixel depends only on the two source rows
    and the two source columns around its centre.

    Args:
        image: Stored values (rows, columns), any integer or floating type.
        spacing: Spacing of `image`, mm (row, column).
        target: Target spacing, mm (row, column).

    Returns:
        float32 of shape `target_shape(image.shape, spacing, target)`, in the units of `image`.
    """
    shape = (int(image.shape[0]), int(image.shape[1]))
    return _linearly(image, target_shape(shape, spacing, target), (target[0] / spacing[0], target[1] / spacing[1]))


def mask_to_target(mask: Mask, spacing: Spacing, target: Spacing) -> Mask:
    """Resample labels to the target grid: every target pixel takes the label with the largest linear weight.

    The weight of a label is what `image_to_target` makes of its region, so a mask stays on its image. The nearest pixel
    would not do: from 0.2 to 0.4 mm, four source pixels are equally near, and taking one of them shifts the mask. Of
    labels with equal weights, the lowest and the highest are taken in turn, like the squares of a checkerboard, so that
    edges stay in place on average.

    Args:
        mask: Labels (rows, columns), uint8.
        spacing: Spacing of `mask`, mm (row, column).
        target: Target spacing, mm (row, column).

    Returns:
        uint8 of shape `target_shape(mask.shape, spacing, target)`, contiguous.
    """
    shape = (int(mask.shape[0]), int(mask.shape[1]))
    ratio = target[0] / spacing[0], target[1] / spacing[1]
    return _heaviest(mask, target_shape(shape, spacing, target), ratio)


def image_to_source(
    image: Image,
    shape: Shape,
    spacing: Spacing,
    target: Spacing,
    origin: tuple[float, float] = (0.0, 0.0),
) -> Image:
    """Resample one channel, such as a logit, linearly from the target grid back to the source grid.

    Args:
        image: The channel on the target grid, (rows, columns), float32.
        shape: Source grid, (rows, columns).
        spacing: Source spacing, mm (row, column).
        target: Spacing of `image`, mm (row, column).
        origin: Offset from the source's outer corner to that of `image`, mm (row, column), if `image` is only a part
            of the target grid.

    Returns:
        float32 of shape `shape`.
    """
    start = origin[0] / target[0], origin[1] / target[1]
    return _linearly(image, shape, (spacing[0] / target[0], spacing[1] / target[1]), start)


def mask_to_source(mask: Mask, shape: Shape, spacing: Spacing, target: Spacing) -> Mask:
    """Resample labels from the target grid back to the source grid.

    Every source pixel takes the label of the nearest target pixel. If the source grid is the coarser one, it takes the
    heaviest label, as in `mask_to_target`.

    Args:
        mask: Labels on the target grid, (rows, columns), uint8.
        shape: Source grid, (rows, columns).
        spacing: Source spacing, mm (row, column).
        target: Spacing of `mask`, mm (row, column).

    Returns:
        uint8 of shape `shape`, contiguous.
    """
    ratio = spacing[0] / target[0], spacing[1] / target[1]
    if max(ratio) > 1 + _SLACK:
        return _heaviest(mask, shape, ratio)
    rows = _nearest(shape[0], mask.shape[0], spacing[0] / target[0])
    columns = _nearest(shape[1], mask.shape[1], spacing[1] / target[1])
    return np.ascontiguousarray(mask[rows][:, columns])


def _heaviest(mask: Mask, shape: Shape, ratio: tuple[float, float]) -> Mask:
    """The label with the largest linear weight at the pixel centres of a grid of `shape`; see `mask_to_target`."""
    upper, lower, down = _neighbours(shape[0], mask.shape[0], ratio[0], 0.0)
    left, right, across = _neighbours(shape[1], mask.shape[1], ratio[1], 0.0)
    corners = np.stack([mask.take(row, 0).take(column, 1) for row in (upper, lower) for column in (left, right)])
    found: Mask = corners[0].copy()
    # Where the four source pixels around a centre agree, there is nothing to weigh.
    edge = (corners[1:] != found).any(axis=0).nonzero()
    y, x = down[edge[0]], across[edge[1]]
    weights = np.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x])
    of_labels = np.stack([(weights * (corners[:, edge[0], edge[1]] == label)).sum(axis=0) for label in Label])
    heaviest = of_labels >= of_labels.max(axis=0) - _SLACK  # rounding must not decide between equal weights
    lowest, highest = heaviest.argmax(axis=0), len(Label) - 1 - heaviest[::-1].argmax(axis=0)
    found[edge] = np.where((edge[0] + edge[1]) % 2, highest, lowest)
    return found


def _positions(count: int, ratio: float) -> FloatArray:
    """Positions of `count` pixel centres as indices of the other grid; `ratio` is own spacing over the other's."""
    return np.asarray((np.arange(count) + 0.5) * ratio - 0.5, dtype=np.float64)


def _nearest(count: int, other: int, ratio: float) -> Indices:
    # The slack keeps a centre that is exactly on a pixel's edge from depending on the last bit.
    return np.clip(np.floor(_positions(count, ratio) + 0.5 + _SLACK), 0, other - 1).astype(np.intp)


def _neighbours(count: int, other: int, ratio: float, start: float) -> tuple[Indices, Indices, npt.NDArray[np.float32]]:
    """Indices before and after each pixel centre, and the weight (count,) of the one after it."""
    position = np.clip(_positions(count, ratio) - start, 0, other - 1)
    before = np.floor(position).astype(np.intp)
    after = np.minimum(before + 1, other - 1)
    return before, after, (position - before).astype(np.float32)


def _linearly(
    image: Pixels,
    shape: Shape,
    ratio: tuple[float, float],
    start: tuple[float, float] = (0.0, 0.0),
) -> Image:
    """`image` interpolated at the pixel centres of a grid of `shape`.

    Not by OpenCV, which rounds its weights to coarse fractions.
    """
    upper, lower, down = _neighbours(shape[0], image.shape[0], ratio[0], start[0])
    left, right, across = _neighbours(shape[1], image.shape[1], ratio[1], start[1])
    # Rows and columns are picked before conversion, so the full-resolution image is never converted to float.
    top, bottom = image.take(upper, 0), image.take(lower, 0)
    above = _mix(top.take(left, 1), top.take(right, 1), across[None, :])
    below = _mix(bottom.take(left, 1), bottom.take(right, 1), across[None, :])
    return _mix(above, below, down[:, None])


def _mix(a: Pixels, b: Pixels, weight: npt.NDArray[np.float32]) -> Image:
    first, mixed = a.astype(np.float32), b.astype(np.float32)
    mixed -= first
    mixed *= weight
    mixed += first
    return mixed

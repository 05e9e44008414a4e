"""Mask at the pixel centres of a finer grid, from logits on a coarser one: interpolated linearly, then compared.

Within a cell of four neighbouring logits an interpolated one is a mixture of the four, so where one label is the
largest at all four corners it is the largest throughout. Only the cells on an edge are interpolated, some thousands of
a few hundred thousand. For the logits themselves on the finer grid see `resample.image_to_source`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from maseg_nnunet.arrays import Indices, Logits, Mask, Region, Spacing

CELLS_AT_ONCE: Final = 4096
"""Bounds the memory that logits of a network without sense would take: then every cell is on an edge."""


def labels_on_source(
    logits: Logits, shape: tuple[int, int], spacing: Spacing, pitch: Spacing, origin: Spacing = (0.0, 0.0)
) -> Mask:
    """The label of the largest logit at each pixel centre of the source, `shape` (rows, columns) uint8.

    `logits`: (labels, rows, columns) on the grid of `pitch` (row, column) in mm, the outer corner of whose first pixel
    lies `origin` mm from that of the source's grid of `spacing` mm. Beyond it the outermost logits are repeated. Of
    equal logits the first label wins.
    """
    corners = logits.argmax(axis=0).astype(np.uint8)
    rows, columns = (
        _Axis(n, coarse, s / p, o / p)
        for n, coarse, s, p, o in zip(shape, logits.shape[1:], spacing, pitch, origin, strict=True)
    )
    labels: Mask = corners[:, columns.before][rows.before]
    top, bottom = corners[rows.cells], corners[rows.beyond]
    here = top[:, columns.cells]
    is_edge = (
        (here != top[:, columns.beyond]) | (here != bottom[:, columns.cells]) | (here != bottom[:, columns.beyond])
    )
    upper, left = np.nonzero(is_edge)
    for begin in range(0, len(upper), CELLS_AT_ONCE):
        part = slice(begin, begin + CELLS_AT_ONCE)
        _interpolate(labels, logits, rows, columns, upper[part], left[part])
    return labels


class _Axis:
    """Where the `count` pixel centres of one axis, `ratio` apart, lie among `coarse` others that begin at `start`."""

    def __init__(self, count: int, coarse: int, ratio: float, start: float) -> None:
        position = np.clip((np.arange(count) + 0.5) * ratio - start - 0.5, 0, coarse - 1)
        self.before: Indices = np.floor(position).astype(np.intp)
        self.weight = (position - self.before).astype(np.float32)
        self.cells: Indices = np.arange(coarse)
        self.beyond: Indices = np.minimum(self.cells + 1, coarse - 1)
        edges = np.searchsorted(self.before, np.arange(coarse + 1))
        self.first: Indices = edges[:-1]
        self.size: Indices = np.diff(edges)

    def pixels(self, cells: Indices) -> tuple[Indices, Region]:
        """Fine pixels in each cell, (cells, most pixels of any cell), and which of them are really in it."""
        offset = np.arange(self.size.max())
        inside = offset < self.size[cells][:, None]
        return np.where(inside, self.first[cells][:, None] + offset, 0), inside


def _interpolate(labels: Mask, logits: Logits, rows: _Axis, columns: _Axis, upper: Indices, left: Indices) -> None:
    """Fill `labels` in the cells whose first corners are (`upper`, `left`)."""
    y, in_y = rows.pixels(upper)
    x, in_x = columns.pixels(left)
    down, across = rows.weight[y][:, :, None], columns.weight[x][:, None, :]
    lower, right = rows.beyond[upper], columns.beyond[left]
    fine: Any = [
        _mix(
            _mix(channel[upper, left], channel[lower, left], down),
            _mix(channel[upper, right], channel[lower, right], down),
            across,
        )
        for channel in logits
    ]
    best, found = fine[0], np.zeros(fine[0].shape, dtype=np.uint8)
    for label, channel in enumerate(fine[1:], start=1):
        better = channel > best
        found[better] = label
        best = np.maximum(best, channel)
    inside = in_y[:, :, None] & in_x[:, None, :]
    flat = y[:, :, None] * labels.shape[1] + x[:, None, :]
    labels.reshape(-1)[flat[inside]] = found[inside]


def _mix(one: Any, other: Any, weight: Any) -> Any:
    if one.ndim == 1:
        one, other = one[:, None, None], other[:, None, None]
    return one + (other - one) * weight

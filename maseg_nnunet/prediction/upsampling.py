"""A mask at the pixel centres of a finer grid, from logits on a coarser one: interpolated linearly, then compared.

Within a cell of four neighbouring pixels, interpolated logits are mixtures of those at the corners. If one label has
the largest logit at all four corners, it has the largest everywhere in the cell. So only the few cells on an edge
between labels are interpolated. `resample.image_to_source` gives the logits themselves on the finer grid.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from maseg_nnunet.arrays import Indices, Logits, Mask, Region, Spacing

CELLS_AT_ONCE: Final = 4096
"""Bounds the memory if a network's output is so noisy that every cell is on an edge."""


def labels_on_source(
    logits: Logits, shape: tuple[int, int], spacing: Spacing, pitch: Spacing, origin: Spacing = (0.0, 0.0)
) -> Mask:
    """Find the label of the largest logit at each pixel centre of the source.

    The outermost logits are repeated beyond their grid. If two logits are equal, the lower label wins.

    Args:
        logits: (labels, rows, columns) on the coarser grid.
        shape: (rows, columns) of the source.
        spacing: (row, column) of the source in mm.
        pitch: (row, column) of the logits in mm.
        origin: (row, column) in mm from the outer corner of the source's first pixel to that of the logits' first.

    Returns:
        The mask, `shape` uint8.
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
    """Positions of the fine pixels of one axis among its coarse pixels.

    Args:
        count: Number of fine pixels.
        coarse: Number of coarse pixels.
        ratio: Fine spacing divided by coarse spacing.
        start: Outer edge of the first coarse pixel, in coarse pixels from that of the first fine pixel.
    """

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
        """The fine pixels in each cell, (cells, largest number in any cell), and which of these are really in it."""
        offset = np.arange(self.size.max())
        inside = offset < self.size[cells][:, None]
        return np.where(inside, self.first[cells][:, None] + offset, 0), inside


def _interpolate(labels: Mask, logits: Logits, rows: _Axis, columns: _Axis, upper: Indices, left: Indices) -> None:
    """Fill `labels` in the cells whose upper left corners are (`upper`, `left`)."""
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

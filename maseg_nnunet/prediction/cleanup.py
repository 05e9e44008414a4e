"""Cleaning up a mask, as the paper's discussion suggests: one breast without holes, one muscle at the chest wall.

For speed it works on runs (stretches of one label in one row) instead of pixels, of which there are far fewer. It is
switched off when the paper's experiments are repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from maseg_nnunet.arrays import Indices, Mask, Region
from maseg_nnunet.chest_wall import straight_edge_is_left
from maseg_nnunet.labels import Label

REACH: Final = 0.02
"""A muscle touches the chest wall if it is at most this share of the breast's width away from it."""


def keep_largest(mask: Mask) -> Mask:
    """Reduce a mask to one breast and one muscle.

    1. The largest component of breast and muscle together stays. The others become background.
    2. Holes become breast, or muscle if they lie entirely inside the muscle. A hole is background that is enclosed by
       the kept component, alone or together with the image's edge at the chest wall. No muscle pixel is changed.
    3. The largest muscle component that touches the chest wall stays. The others become breast.

    Pixels that share a corner belong to one component. The chest wall is the side, left or right, where the breast's
    outline is straight.

    Args:
        mask: Labels (rows, columns) uint8: 0 background, 1 breast, 2 pectoral muscle.

    Returns:
        A new mask, or `mask` itself if nothing changes.
    """
    runs = _runs(mask)
    touching = _touching(runs)
    cornered = np.concatenate([touching, _cornered(runs)], axis=1)
    cleaned = _one_muscle(_filled(_one_component(runs, cornered), touching), cornered)
    if np.array_equal(cleaned.label, runs.label):
        return mask
    return np.repeat(cleaned.label, cleaned.length).reshape(mask.shape)


@dataclass(frozen=True, eq=False)
class _Runs:
    """The runs of a mask, which cover it in reading order.

    Attributes:
        start: Index of each run's first pixel in the flattened mask, (n,).
        length: Number of pixels of each run, (n,).
        label: Label of each run, (n,) uint8.
        shape: (rows, columns) of the mask.
    """

    start: Indices
    length: Indices
    label: Mask
    shape: tuple[int, int]

    @property
    def row(self) -> Indices:
        return self.start // self.shape[1]

    @property
    def first(self) -> Indices:
        """Column of the first pixel."""
        return self.start % self.shape[1]

    @property
    def last(self) -> Indices:
        """Column of the last pixel."""
        return self.first + self.length - 1

    def at(self, pixel: Indices) -> Indices:
        """Index of the run that contains each pixel of the flattened mask."""
        return np.searchsorted(self.start, pixel, side="right") - 1


def _runs(mask: Mask) -> _Runs:
    flat = np.ascontiguousarray(mask).reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    start = np.union1d(changes, np.arange(0, flat.size, mask.shape[1]))
    return _Runs(start, np.diff(start, append=flat.size), flat[start], (mask.shape[0], mask.shape[1]))


def _touching(runs: _Runs) -> Indices:
    """Pairs (2, n) of runs that share a side, in the same row or in neighbouring rows."""
    columns = runs.shape[1]
    index = np.arange(len(runs.start))
    # The overlap of two runs in neighbouring rows begins at the first column of one of them.
    upper, lower = index[runs.row < runs.shape[0] - 1], index[runs.row > 0]
    beside = index[1:][runs.row[1:] == runs.row[:-1]]
    return np.concatenate(
        [
            [upper, runs.at(runs.start[upper] + columns)],
            [runs.at(runs.start[lower] - columns), lower],
            [beside - 1, beside],
        ],
        axis=1,
    )


def _cornered(runs: _Runs) -> Indices:
    """Pairs (2, n) of runs in neighbouring rows that share a corner. Some of them may also share a side."""
    columns = runs.shape[1]
    index = np.arange(len(runs.start))
    inner = runs.first > 0
    upper, lower = index[inner & (runs.row < runs.shape[0] - 1)], index[inner & (runs.row > 0)]
    return np.concatenate(
        [[upper, runs.at(runs.start[upper] + columns - 1)], [runs.at(runs.start[lower] - columns - 1), lower]], axis=1
    )


def _components(members: Region, pairs: Indices) -> Indices:
    """A number for each run, equal within a component of members. A run that is not a member is alone."""
    one, other = pairs[:, members[pairs[0]] & members[pairs[1]]]
    root = np.arange(len(members))
    while True:
        # Each run points to itself or to a run of its component with a smaller number. In each round, both runs of a
        # pair take the smaller number of the two, and chains of pointers are halved.
        here, there = root[one], root[other]
        if np.array_equal(here, there):
            return root
        smaller = np.minimum(here, there)
        np.minimum.at(root, here, smaller)
        np.minimum.at(root, there, smaller)
        root = root[root]


def _largest(component: Indices, length: Indices, members: Region) -> Region:
    """Members of the component that has the most pixels."""
    areas = np.bincount(component, weights=np.where(members, length, 0))
    largest: Region = members & (component == int(np.argmax(areas)))
    return largest


def _one_component(runs: _Runs, pairs: Indices) -> _Runs:
    inside = runs.label != Label.BACKGROUND
    kept = _largest(_components(inside, pairs), runs.length, inside)
    return replace(runs, label=np.where(kept, runs.label, np.uint8(Label.BACKGROUND)))


def _filled(runs: _Runs, pairs: Indices) -> _Runs:
    outside = runs.label == Label.BACKGROUND
    if outside.all():
        return runs
    component = _components(outside, pairs)
    at_border = (runs.row == 0) | (runs.row == runs.shape[0] - 1)
    at_border |= runs.last == runs.shape[1] - 1 if _outline(runs).wall_is_left else runs.first == 0
    open_ = np.zeros(component.max() + 1, dtype=bool)
    open_[component[at_border]] = True
    hole = outside & ~open_[component]
    beside_breast = np.zeros_like(open_)
    for one, other in (pairs, pairs[::-1]):
        beside_breast[component[one[runs.label[other] == Label.BREAST]]] = True
    filling = np.where(beside_breast[component], np.uint8(Label.BREAST), np.uint8(Label.PECTORAL_MUSCLE))
    return replace(runs, label=np.where(hole, filling, runs.label))


def _one_muscle(runs: _Runs, pairs: Indices) -> _Runs:
    muscle = runs.label == Label.PECTORAL_MUSCLE
    if not muscle.any():
        return runs
    component = _components(muscle, pairs)
    touches = np.zeros(component.max() + 1, dtype=bool)
    touches[component[muscle & _near_chest_wall(runs)]] = True
    kept = _largest(component, runs.length, muscle & touches[component])
    return replace(runs, label=np.where(muscle & ~kept, np.uint8(Label.BREAST), runs.label))


@dataclass(frozen=True, eq=False)
class _Outline:
    """The first and last column of the breast in each row. Rows without breast have the image's width and -1."""

    left: Indices
    right: Indices

    @property
    def seen(self) -> Region:
        return np.asarray(self.right >= 0)

    @property
    def width(self) -> int:
        return int(self.right[self.seen].max() - self.left[self.seen].min() + 1)

    @property
    def wall_is_left(self) -> bool:
        seen = np.flatnonzero(self.seen)
        return straight_edge_is_left(seen, self.left[seen], self.right[seen])


def _outline(runs: _Runs) -> _Outline:
    inside = runs.label != Label.BACKGROUND
    rows: Any = runs.row[inside]
    left = np.full(runs.shape[0], runs.shape[1])
    right = np.full(runs.shape[0], -1)
    np.minimum.at(left, rows, runs.first[inside])
    np.maximum.at(right, rows, runs.last[inside])
    return _Outline(left, right)


def _near_chest_wall(runs: _Runs) -> Region:
    """Runs that end at the breast's outline on the side of the chest wall, or close to it."""
    outline = _outline(runs)
    reach = REACH * outline.width
    near: Region
    if outline.wall_is_left:
        near = runs.first <= outline.left[runs.row] + reach
    else:
        near = runs.last >= outline.right[runs.row] - reach
    return near

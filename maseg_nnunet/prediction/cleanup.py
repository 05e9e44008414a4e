"""Cleaning a mask up, as the paper's discussion suggests: one breast without holes, one muscle at the chest wall.

Works on runs (stretches of one label in one row) instead of pixels: a mask of fourteen million pixels has some ten
thousand, so this costs milliseconds. Not for logits, and off wherever the paper's experiments are repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from maseg_nnunet.arrays import Indices, Mask, Region
from maseg_nnunet.labels import Label

REACH: Final = 0.02
"""Share of the breast's width that may lie between the chest wall and a muscle that counts as touching it."""

STRAIGHT: Final = 0.05
"""Share of the breast's width within which its outline counts as straight: so much the chest wall may slant."""


def keep_largest(mask: Mask) -> Mask:
    """`mask`, labels (rows, columns) uint8, reduced to one breast and one muscle; a new array where that changes it.

    1. Breast and muscle together: the largest component (pixels that share a corner belong together) stays, the rest
       becomes background.
    2. Background that the kept component encloses, alone or with the image's edge at the chest wall, becomes breast, or
       muscle where it lies wholly inside the muscle. Nothing that is muscle is painted over.
    3. Of the muscle's components that touch the chest wall, the largest stays; the rest becomes breast.

    The chest wall is the side, left or right, where the outline is straight.
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
    """The runs of a mask in reading order, all of shape (n,); they cover it. `start`: index in the flattened mask."""

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
        """Index of the run that holds each pixel of the flattened mask."""
        return np.searchsorted(self.start, pixel, side="right") - 1


def _runs(mask: Mask) -> _Runs:
    flat = np.ascontiguousarray(mask).reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    start = np.union1d(changes, np.arange(0, flat.size, mask.shape[1]))
    return _Runs(start, np.diff(start, append=flat.size), flat[start], (mask.shape[0], mask.shape[1]))


def _touching(runs: _Runs) -> Indices:
    """Pairs (2, n) of runs that share a side, in one row or in two."""
    columns = runs.shape[1]
    index = np.arange(len(runs.start))
    # Two runs above each other overlap from the column on where the later one of the two begins.
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
    """Pairs (2, n) of runs in neighbouring rows that share a corner; pairs that share a side may be among them."""
    columns = runs.shape[1]
    index = np.arange(len(runs.start))
    inner = runs.first > 0
    upper, lower = index[inner & (runs.row < runs.shape[0] - 1)], index[inner & (runs.row > 0)]
    return np.concatenate(
        [[upper, runs.at(runs.start[upper] + columns - 1)], [runs.at(runs.start[lower] - columns - 1), lower]], axis=1
    )


def _components(members: Region, pairs: Indices) -> Indices:
    """A number for each run, the same in one component of members; those that are none have one of their own each."""
    one, other = pairs[:, members[pairs[0]] & members[pairs[1]]]
    root = np.arange(len(members))
    while True:
        # Each run points to one of its component with a smaller number, or to itself; in a round, pairs agree on the
        # smaller one of theirs, and chains of pointers are halved.
        here, there = root[one], root[other]
        if np.array_equal(here, there):
            return root
        smaller = np.minimum(here, there)
        np.minimum.at(root, here, smaller)
        np.minimum.at(root, there, smaller)
        root = root[root]


def _largest(component: Indices, length: Indices, members: Region) -> Region:
    """The members of the component with the most pixels."""
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
    """First and last column of the breast in every row; rows without have the image's width and -1."""

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
        left, right, tolerance = self.left[self.seen], self.right[self.seen], STRAIGHT * self.width
        at_left = np.count_nonzero(left <= left.min() + tolerance)
        return bool(at_left >= np.count_nonzero(right >= right.max() - tolerance))


def _outline(runs: _Runs) -> _Outline:
    inside = runs.label != Label.BACKGROUND
    rows: Any = runs.row[inside]
    left = np.full(runs.shape[0], runs.shape[1])
    right = np.full(runs.shape[0], -1)
    np.minimum.at(left, rows, runs.first[inside])
    np.maximum.at(right, rows, runs.last[inside])
    return _Outline(left, right)


def _near_chest_wall(runs: _Runs) -> Region:
    """Runs whose end on the chest wall's side is the breast's, or nearly so."""
    outline = _outline(runs)
    reach = REACH * outline.width
    near: Region
    if outline.wall_is_left:
        near = runs.first <= outline.left[runs.row] + reach
    else:
        near = runs.last >= outline.right[runs.row] - reach
    return near

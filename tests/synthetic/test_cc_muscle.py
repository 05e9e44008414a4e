"""Muscles drawn into CC views."""

from __future__ import annotations

import numpy as np
import pytest

from maseg_nnunet.labels import Label
from maseg_nnunet.mammogram import Side, View
from maseg_nnunet.synthetic.cc_muscle import with_cc_muscle
from maseg_nnunet.synthetic.phantom import make_phantom
from maseg_nnunet.synthetic.texture import FIELD_MM

SPACING = 0.8


def breast(side: Side = Side.LEFT, muscle: bool = False) -> tuple[np.ndarray, np.ndarray]:
    phantom = make_phantom(3, View.CC, side, rows=320, columns=256, spacing=(SPACING, SPACING), muscle=muscle)
    return phantom.image, phantom.mask.astype(np.int16)


@pytest.mark.parametrize("side", [Side.LEFT, Side.RIGHT])
def test_it_lies_at_the_chest_wall_in_the_breast_and_as_large_as_real_ones(side: Side) -> None:
    image, labels = breast(side)
    height = np.flatnonzero((labels > 0).any(axis=1)).size
    rng = np.random.default_rng(0)
    for _ in range(40):
        drawn, marked = with_cc_muscle(image, labels, rng)
        assert drawn.shape == image.shape and drawn.dtype == np.float32 and np.isfinite(drawn).all()
        assert marked.dtype == labels.dtype
        muscle = marked == Label.PECTORAL_MUSCLE
        assert ((labels > 0) == (marked > 0)).all()
        wall = muscle[:, 0 if side is Side.LEFT else -1]
        assert wall.any()
        rows, columns = np.flatnonzero(muscle.any(axis=1)), np.flatnonzero(muscle.any(axis=0))
        assert (muscle.any(axis=1) == wall).all()  # nowhere off the chest wall
        assert np.diff(rows).max() == 1
        assert 0.08 * height < rows.size < 0.75 * height
        assert columns.size <= 0.1 * height
        # Nothing but the muscle and the fat in front of it has changed, and the muscle has become brighter.
        far = slice(columns.size + round(0.06 * height) + 3, None)
        assert np.array_equal(
            (drawn if side is Side.LEFT else drawn[:, ::-1])[:, far],
            (image if side is Side.LEFT else image[:, ::-1])[:, far],
        )
        assert drawn[labels == 0] == pytest.approx(image[labels == 0])
        assert 0.01 < (drawn - image)[muscle].mean() < 0.18


def test_where_there_is_one_or_no_breast_nothing_is_drawn() -> None:
    image, labels = breast(muscle=True)
    rng = np.random.default_rng(0)
    assert (labels == Label.PECTORAL_MUSCLE).any()
    for marks in (labels, np.zeros_like(labels)):
        drawn, marked = with_cc_muscle(image, marks, rng)
        assert np.array_equal(drawn, image) and np.array_equal(marked, marks)


def test_images_larger_than_a_phantom_and_breasts_away_from_the_edge() -> None:
    rng = np.random.default_rng(1)
    labels = np.zeros((2 * int(FIELD_MM), 500), np.int16)
    labels[100:500, 20:300] = Label.BREAST
    for _ in range(20):
        drawn, marked = with_cc_muscle(np.full(labels.shape, 0.4, np.float32), labels, rng)
        muscle = marked == Label.PECTORAL_MUSCLE
        assert muscle[:, 20].any() and not muscle[:, :20].any()
        assert (drawn[labels == 0] == np.float32(0.4)).all()

"""Rims and muscles of other brightness."""

from __future__ import annotations

import numpy as np
import pytest

from maseg_nnunet.labels import Label
from maseg_nnunet.synthetic.tissue_contrast import STRONGEST, change_muscle, change_rim, depth_below_skin

SHAPE = (300, 240)


def breast(margin: int = 0) -> np.ndarray:
    """Labels of a half disc whose chest wall is at column `margin`, with a muscle in its upper corner."""
    rows, columns = np.indices(SHAPE)
    labels = ((rows - 150) ** 2 + (columns - margin) ** 2 < 130**2).astype(np.int16)
    labels[:, :margin] = 0
    labels[(labels > 0) & (rows - 20 + 2 * (columns - margin) < 90)] = Label.PECTORAL_MUSCLE
    return labels


@pytest.mark.parametrize("margin", [0, 25])
@pytest.mark.parametrize("mirrored", [False, True])
def test_depth_is_that_below_the_skin_alone(margin: int, mirrored: bool) -> None:
    labels = breast(margin)[:, :: -1 if mirrored else 1]
    depth = depth_below_skin(labels > 0)
    depth = depth[:, :: -1 if mirrored else 1]
    rows, columns = np.indices(SHAPE)
    expected = 129.5 - np.hypot(rows - 150, columns - margin)
    inside = breast(margin) > 0
    # Near the chest wall's ends the nearest skin may lie beyond the image's, or the margin's, edge.
    sure = inside & (expected < 60) & (columns - margin > 60)
    assert depth[sure] == pytest.approx(expected[sure], abs=2.5)
    assert depth[150, margin] > 100
    assert (depth[~inside] == 0).all() and (depth[inside] > 0).all()


def test_the_rim_fades_or_brightens_and_nothing_else_changes() -> None:
    rng = np.random.default_rng(0)
    labels = breast()
    depth = depth_below_skin(labels > 0)
    flat = np.where(labels > 0, 0.4, 0.02).astype(np.float32)
    film = (flat * np.where(labels > 0, np.clip(depth / 45, 0.02, 1), 1)).astype(np.float32)
    outer = (depth > 3) & (depth < 8)
    rims: dict[str, list[float]] = {"flat": [], "film": []}
    for _ in range(160):
        for name, image in (("flat", flat), ("film", film)):
            changed = change_rim(image, labels, rng)
            assert changed.dtype == np.float32 and np.isfinite(changed).all()
            assert np.array_equal(changed[labels == 0], image[labels == 0])
            assert np.allclose(changed[depth > 0.15 * SHAPE[0]], image[depth > 0.15 * SHAPE[0]])
            # One direction at a time, and no dark rim more than STRONGEST times brighter.
            assert (changed <= image + 1e-6).all() or (changed >= image - 1e-6).all()
            assert changed.min() >= 0 and (changed <= STRONGEST * image + 1e-6).all()
            rims[name].append(float(changed[outer].mean()))
            if name == "flat":
                profile = np.diff([changed[(depth >= d) & (depth < d + 1)].mean() for d in range(1, 60)])
                assert (profile > -0.01).all() or (profile < 0.01).all()
    faded, equalized = np.array(rims["flat"]) < 0.399, np.array(rims["flat"]) > 0.401
    assert 60 < faded.sum() < 100 and 60 < equalized.sum() < 100
    assert np.median(np.array(rims["flat"])[faded]) < 0.24  # mostly strong: 0.25 by the square root of the draw
    assert min(rims["flat"]) < 0.15 and 0.6 < max(rims["flat"]) < 0.8
    # A film's rim, hardly brighter than black at the skin, is equalized at times as far as it may, and fades no more.
    ratios = np.array(rims["film"]) / film[outer].mean()
    assert ratios.min() > 0.6 and ratios.max() == pytest.approx(STRONGEST, rel=0.02)


def test_the_muscle_becomes_as_bright_as_drawn() -> None:
    rng = np.random.default_rng(0)
    labels = breast()
    image = np.where(labels > 0, 0.5, 0.02).astype(np.float32)
    found = []
    for _ in range(80):
        changed = change_muscle(image, labels, rng)
        assert changed.dtype == np.float32
        assert np.array_equal(changed[labels == 0], image[labels == 0])
        far = labels[:, 120:] == Label.BREAST
        assert np.allclose(changed[:, 120:][far], 0.5)
        found.append(np.median(changed[labels == Label.PECTORAL_MUSCLE]) - 0.5)
    assert 0.025 < min(found) < 0.08 and 0.42 < max(found) < 0.51


def test_where_there_is_nothing_to_change_nothing_is() -> None:
    rng = np.random.default_rng(0)
    image = rng.random(SHAPE, dtype=np.float32)
    for labels in (np.zeros(SHAPE, np.int16), np.ones(SHAPE, np.int16), np.full(SHAPE, -1, np.int16)):
        assert np.array_equal(change_muscle(image, labels, rng), image)
        assert np.array_equal(change_rim(image, labels, rng), image)
    tiny = np.ones((1, 1), np.float32)
    assert np.array_equal(change_rim(tiny, np.ones((1, 1), np.int8), rng), tiny)
    assert np.array_equal(change_muscle(image, np.full(SHAPE, 2, np.int16), rng), image)

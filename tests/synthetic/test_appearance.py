"""The changes that augmentation makes to the look of a whole image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maseg_nnunet.synthetic.appearance import another_display, as_scanned, paste_beside, raw_like, within_edges

RAMP = np.linspace(0, 1, 256, dtype=np.float32)[None]


def test_contrast_rises_stays_in_range_and_keeps_the_skin() -> None:
    rng = np.random.default_rng(0)
    curves = [another_display(RAMP, rng)[0] for _ in range(400)]
    for curve in curves:
        assert curve.dtype == np.float32
        assert curve.min() >= 0 and curve.max() <= 1
        assert (np.diff(curve) >= 0).all()
        assert curve[int(0.12 * 255)] > 0  # what is darker than a tenth may become black, nothing brighter
    # A window is a straight line wherever it is neither black nor white, a sigmoid nowhere.
    bends = [np.abs(np.diff(curve[(curve > 0) & (curve < 1)], 2)[1:-1]).max() for curve in curves]
    assert np.mean(np.array(bends) < 1e-6) == pytest.approx(2 / 3, abs=0.1)


def test_windows_begin_below_the_darkest_tissue_and_make_fat_nearly_black() -> None:
    rng = np.random.default_rng(0)
    image = np.zeros((40, 40), np.float32)
    image[:, :25] = 0.4  # fat, as bright as in the 8-bit copies of INbreast
    image[:, :10] = 0.65
    fat = []
    for _ in range(400):
        shown = another_display(image, rng)
        assert 0 < shown[0, 20] < shown[0, 0] and shown[0, 30] <= shown[0, 20]
        fat.append(shown[0, 20] / shown[0, 0])
    assert min(fat) < 0.2 and np.quantile(fat, 0.9) > 0.55
    assert np.isfinite(another_display(np.zeros((4, 4), np.float32), rng)).all()


def test_a_raw_like_image_is_an_exponential_of_the_gray_both_ways_up() -> None:
    rng = np.random.default_rng(1)
    rising = 0
    for _ in range(200):
        curve = raw_like(RAMP, rng)[0].astype(np.float64)
        assert curve.min() >= 0 and curve.max() <= 1
        rising += curve[-1] > curve[0]
        dose = 1 - curve if curve[-1] > curve[0] else curve
        k = 4 * np.log((dose[0] - dose[51]) / (dose[51] - dose[102])) * 1.25  # grays 0, 0.2 and 0.4
        assert 0.99 <= k <= 4.01
        assert dose == pytest.approx((np.exp(-k * RAMP[0]) - np.exp(-k)) / (1 - np.exp(-k)), abs=2e-4)
    assert 70 < rising < 130


@pytest.mark.parametrize("mirrored", [False, True])
def test_white_air_reaches_beyond_the_breast_as_far_as_a_detector(mirrored: bool) -> None:
    rows, columns = np.indices((160, 128))
    breast = ((rows - 80) ** 2 + (columns - 25) ** 2 < 30**2) & (columns >= 25)
    rng = np.random.default_rng(6)
    framed = [
        within_edges(np.ones(breast.shape, np.float32), breast[:, ::-1] if mirrored else breast, rng)
        for _ in range(300)
    ]
    air = np.mean(framed, axis=0)[:, :: -1 if mirrored else 1]
    assert (air[:, :25] == 0).all() and (air[breast] == 1).all()
    assert 0 < air[0, 50] < air[20, 50] < air[52, 50] == 1
    assert 1 > air[80, 60] > air[80, 90] > air[80, 110] > 0
    # Half of the time the detector ends with the breast: at its top, at its bottom, at its nipple.
    assert air[[50, 110], [50, 50]] == pytest.approx(0.5, abs=0.1) and air[80, 55] == pytest.approx(0.5, abs=0.1)
    assert np.array_equal(within_edges(RAMP, np.zeros(RAMP.shape, bool), rng), RAMP)


def test_nothing_is_pasted_onto_the_breast_and_something_beside_it() -> None:
    rng = np.random.default_rng(2)
    keep = np.zeros((160, 128), dtype=bool)
    keep[20:140, :70] = True
    image = np.where(keep, 0.4, 0).astype(np.float32)
    changed = 0
    for _ in range(60):
        pasted = paste_beside(image, keep, rng)
        assert pasted.shape == image.shape and pasted.dtype == np.float32
        assert pasted.min() >= 0 and pasted.max() <= 1
        assert np.array_equal(pasted[keep], image[keep])  # fog is darker than this breast
        changed += not np.array_equal(pasted[~keep], image[~keep])
    assert changed > 50
    whole = np.ones_like(keep)
    assert np.array_equal(paste_beside(image, whole, rng), image)


@pytest.mark.parametrize("mirrored", [False, True])
def test_tape_lies_away_from_the_chest_wall(mirrored: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, columns = np.indices((160, 128))
    keep = (rows - 80) ** 2 + columns**2 < 60**2
    sides = []

    def paste(image: np.ndarray, *, at_left: bool, **unused: Any) -> np.ndarray:
        sides.append(at_left)
        return image

    monkeypatch.setattr("maseg_nnunet.synthetic.appearance.paste_tape", paste)
    rng = np.random.default_rng(4)
    for _ in range(60):
        paste_beside(np.zeros(keep.shape, np.float32), keep[:, ::-1] if mirrored else keep, rng)
    assert sides and set(sides) == {mirrored}


@pytest.mark.parametrize("mirrored", [False, True])
def test_nothing_lies_beyond_the_chest_wall(mirrored: bool) -> None:
    rows, columns = np.indices((160, 128))
    keep = ((rows - 80) ** 2 + (columns - 25) ** 2 < 60**2) & (columns >= 25)
    rng = np.random.default_rng(5)
    changed = np.zeros(keep.shape, bool)
    for _ in range(100):
        pasted = paste_beside(np.zeros(keep.shape, np.float32), keep[:, ::-1] if mirrored else keep, rng)
        changed |= (pasted[:, ::-1] if mirrored else pasted) > 0
    assert not changed[:, :25].any()
    assert changed[:, 25:][~keep[:, 25:]].mean() > 0.95


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_film_ends_beside_the_breast_and_not_at_the_chest_wall(mirrored: bool) -> None:
    rows, columns = np.indices((160, 128))
    keep = ((rows - 80) ** 2 + (columns - 25) ** 2 < 30**2) & (columns >= 25)
    rng = np.random.default_rng(7)
    image = np.where(keep, 0.5, 0.2).astype(np.float32)
    turned = slice(None, None, -1 if mirrored else 1)
    films = []
    for _ in range(200):
        scan = as_scanned(image[:, turned], keep[:, turned], rng)[:, turned]
        assert scan.dtype == np.float32 and scan.min() >= 0 and scan.max() <= 1
        assert np.array_equal(scan[keep], image[keep]) and np.array_equal(scan[:, :25], image[:, :25])
        films.append(scan)
    bed = np.mean(np.array(films) < 0.1, axis=0)
    assert bed[80, 56] < 0.1 < bed[80, 75] < bed[80, 90] and bed[80, 105] == 1
    assert bed[48, 40] < 0.15 < bed[20, 40] and bed[112, 40] < 0.15 < bed[140, 40]
    assert 0.3 < np.mean([scan[:, 25:][~keep[:, 25:]].max() > 0.29 for scan in films]) < 0.7
    assert np.array_equal(as_scanned(RAMP, np.zeros(RAMP.shape, bool), rng), RAMP)

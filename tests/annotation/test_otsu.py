from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maseg_nnunet.annotation.otsu import breast_region, initial_mask, muscle_region
from maseg_nnunet.mammogram import Intent, Mammogram, Side, View
from maseg_nnunet.synthetic.phantom import make_phantom
from maseg_nnunet.voi import CaseLuts, full_range


def phantom(view: View, side: Side, seed: int = 3) -> tuple[Mammogram, np.ndarray]:
    made = make_phantom(seed, view, side)
    pixels = np.round(made.image * 4095).astype(np.uint16)
    luts = CaseLuts(False, 0, (full_range(0, 4095),))
    return Mammogram(Path("phantom"), pixels, made.spacing, "phantom", luts, Intent.PROCESSED, view, side), made.mask


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))


@pytest.mark.parametrize("side", [Side.LEFT, Side.RIGHT])
def test_phantom(side: Side) -> None:
    mammogram, reference = phantom(View.MLO, side)
    mask = initial_mask(mammogram)
    assert dice(mask > 0, reference > 0) > 0.9
    assert dice(mask == 2, reference == 2) > 0.7


def test_muscle_is_marked_in_mlo_like_views_alone() -> None:
    mammogram, _ = phantom(View.MLO, Side.LEFT)
    for view in View:
        assert (initial_mask(replace(mammogram, view=view)) == 2).any() == view.is_mlo_like


def test_polarity_does_not_matter() -> None:
    mammogram, _ = phantom(View.MLO, Side.LEFT)
    turned = replace(mammogram, pixels=4095 - mammogram.pixels, luts=replace(mammogram.luts, inverted=True))
    np.testing.assert_array_equal(initial_mask(turned), initial_mask(mammogram))
    raw = replace(mammogram, pixels=4095 - mammogram.pixels, intent=Intent.RAW)
    np.testing.assert_array_equal(initial_mask(raw), initial_mask(mammogram))


@pytest.mark.parametrize(
    ("orientation", "turns"), [(("A", "FR"), 0), (("P", "HL"), 2), (("FR", "P"), 3), (("HL", "A"), 1)]
)
def test_an_image_that_is_stored_turned_gets_the_mask_of_the_upright_one(
    orientation: tuple[str, str], turns: int
) -> None:
    mammogram, _ = phantom(View.MLO, Side.LEFT)
    stored = np.ascontiguousarray(np.rot90(mammogram.pixels, -turns))
    turned = replace(mammogram, pixels=stored, patient_orientation=orientation)
    assert turned.quarter_turns == turns
    mask = initial_mask(turned)
    assert mask.flags.c_contiguous
    np.testing.assert_array_equal(np.rot90(mask, turns), initial_mask(mammogram))


def test_labels_and_holes() -> None:
    gray = np.zeros((100, 80), np.uint8)
    gray[10:90, :50] = 120
    gray[40:45, 20:25] = 0  # a hole
    gray[:8, 70:] = 255  # a label
    breast = breast_region(gray)
    assert breast[42, 22]
    assert not breast[:8, 70:].any()


@pytest.mark.parametrize("left", [True, False])
def test_the_corner_is_the_breasts_not_the_images(left: bool) -> None:
    gray = np.zeros((120, 100), np.uint8)
    gray[20:110, 20:70] = 90
    gray[20:60, 20:40] = 220  # the muscle, away from the image's edges
    gray[80:95, 50:65] = 230  # dense tissue
    gray = gray if left else gray[:, ::-1].copy()
    breast = gray > 0
    breast[100:, 60 if left else 30 : 70 if left else 40] = False
    muscle = muscle_region(gray, breast)
    expected = gray == 220
    assert dice(muscle, expected) > 0.9


def test_nothing_to_see() -> None:
    mammogram, _ = phantom(View.MLO, Side.LEFT)
    flat = replace(mammogram, pixels=np.zeros_like(mammogram.pixels))
    assert not initial_mask(flat).any()

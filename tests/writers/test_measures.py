from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from maseg_nnunet.mammogram import Flag, View
from maseg_nnunet.writers.measures import STATISTICS_COLUMNS, MaskFlag, image_statistics, mask_flags, perimeter


def _mask() -> np.ndarray:
    mask = np.zeros((100, 80), np.uint8)
    mask[10:60, :40] = 1
    mask[10:30, :20] = 2
    return mask


def test_areas_and_share_use_both_spacings() -> None:
    found = image_statistics(_mask(), (0.2, 0.5))
    assert found.breast_area_cm2 == pytest.approx((50 * 40 - 400) * 0.2 * 0.5 / 100)
    assert found.pectoral_area_cm2 == pytest.approx(400 * 0.1 / 100)
    assert found.pectoral_share == pytest.approx(400 / 2000)
    assert found.pectoral_found


@pytest.mark.parametrize("spacing", [(0.07, 0.07), (0.4, 0.4), (0.1, 0.2)])
@pytest.mark.parametrize("tilt", [0, 7, 22.5, 45])
def test_perimeter_of_ellipses_and_rectangles_is_right_to_one_percent(spacing: tuple, tilt: float) -> None:
    height, width = 150.0, 80.0
    rows, columns = (round(200 / s) for s in spacing)
    y, x = np.mgrid[:rows, :columns]
    y, x = (y + 0.5) * spacing[0] - 100, (x + 0.5) * spacing[1] - 100
    angle = math.radians(tilt)
    y, x = y * math.cos(angle) - x * math.sin(angle), y * math.sin(angle) + x * math.cos(angle)
    box = (np.abs(y) < height / 2) & (np.abs(x) < width / 2)
    assert perimeter(box, spacing) == pytest.approx(2 * (height + width), rel=0.01)
    a, b = height / 2, width / 2
    ramanujan = math.pi * (3 * (a + b) - math.sqrt((3 * a + b) * (a + 3 * b)))
    assert perimeter((y / a) ** 2 + (x / b) ** 2 < 1, spacing) == pytest.approx(ramanujan, rel=0.01)


def test_perimeter_counts_the_images_border_and_every_part_but_no_hole() -> None:
    half = np.zeros((1000, 500), bool)
    half[200:800, :300] = True
    whole = perimeter(half, (0.1, 0.1))
    assert whole == pytest.approx(180, rel=0.01)
    half[400:450, 100:150] = False
    assert perimeter(half, (0.1, 0.1)) == whole
    half[900:950, 400:450] = True
    assert perimeter(half, (0.1, 0.1)) == pytest.approx(200, rel=0.02)
    assert perimeter(np.zeros((5, 5), bool), (1, 1)) == 0
    assert perimeter(np.eye(1, dtype=bool), (1, 1)) == pytest.approx(math.pi)


def test_perimeter_of_a_drawn_circle_does_not_grow_with_the_resolution() -> None:
    lengths = []
    for scale in (1, 2, 4):
        disc = cv2.circle(np.zeros((400 * scale, 400 * scale), np.uint8), (200 * scale,) * 2, 150 * scale, 1, -1)
        lengths.append(perimeter(disc > 0, (0.4 / scale, 0.4 / scale)))
    assert max(lengths) / min(lengths) < 1.01


def test_flags_of_image_and_mask() -> None:
    empty = np.zeros((4, 4), np.uint8)
    assert image_statistics(empty, (1, 1), [Flag.CONSTANT]).flags == (Flag.CONSTANT.value, MaskFlag.NO_BREAST.value)
    breast = np.zeros((200, 200), np.uint8)
    breast[40:160, :80] = 1
    assert image_statistics(breast, (1, 1), view=View.MLO).flags == (MaskFlag.NO_PECTORAL_IN_MLO.value,)
    assert image_statistics(breast, (1, 1), view=View.CC).flags == ()
    nothing = image_statistics(empty, (1, 1))
    assert (nothing.pectoral_share, nothing.breast_perimeter_mm, nothing.pectoral_found) == (0.0, 0.0, False)


def test_cells_match_the_columns() -> None:
    cells = dict(
        zip(STATISTICS_COLUMNS, image_statistics(_mask(), (2, 5), [Flag.SPOT, Flag.SYNTHETIC]).cells(), strict=True)
    )
    assert cells["breast_area_cm2"] == "160.00"
    assert cells["pectoral_share"] == "0.2000"
    assert cells["pectoral_found"] == "yes"
    assert cells["flags"] == f"{Flag.SPOT.value}; {Flag.SYNTHETIC.value}"


def test_implausible_masks_are_flagged() -> None:
    whole = np.zeros((240, 180), np.uint8)
    whole[30:200, :90] = 1
    whole[:80, :30] = 2
    assert mask_flags(whole, (1, 1), View.MLO) == ()
    for fault in ("muscle alone", "small", "large", "room"):
        mask, spacing = whole.copy(), 1.0
        if fault == "muscle alone":
            mask[mask == 1] = 0
            mask[100, 50] = 1
        elif fault == "small":
            spacing = 0.2
        elif fault == "large":
            spacing = 3
        else:
            mask[50:240, :] = 1
        assert MaskFlag.IMPLAUSIBLE in mask_flags(mask, (spacing, spacing), View.MLO), fault
    assert mask_flags(np.zeros_like(whole), (1, 1), View.MLO) == (MaskFlag.NO_BREAST,)

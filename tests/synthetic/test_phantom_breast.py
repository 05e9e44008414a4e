import cv2
import numpy as np
import pytest

from maseg_nnunet.labels import Label
from maseg_nnunet.mammogram import Side, View
from maseg_nnunet.resample import mask_to_target
from maseg_nnunet.synthetic.phantom_breast import Breast, make_breast

SEEDS = range(12)


def coarse(seed: int, view: View, side: Side = Side.LEFT, muscle: bool | None = None) -> Breast:
    return make_breast(seed, view, side, rows=300, columns=240, spacing=(0.8, 0.8), muscle=muscle)


def components(mask: np.ndarray) -> int:
    return cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("side", [Side.LEFT, Side.RIGHT])
def test_mlo_breast_touches_the_chest_wall_and_its_muscle_the_corner(seed: int, side: Side) -> None:
    mask = coarse(seed, View.MLO, side).mask
    hung = mask if side is Side.LEFT else mask[:, ::-1]
    assert hung[0, 0] == Label.PECTORAL_MUSCLE
    assert np.all(hung[:40, 0] == Label.PECTORAL_MUSCLE)
    assert np.all(hung[: len(hung) // 2, 0] > 0), "the breast must reach the chest wall down to the nipple"
    assert not hung[:, -1].any(), "the far edge is air"
    assert hung[0].max() == Label.PECTORAL_MUSCLE and Label.BREAST in hung[0]
    widths = (hung == Label.PECTORAL_MUSCLE).sum(1)
    assert widths[0] > 1.8 * widths[(widths > 0).nonzero()[0][-1] * 3 // 4], "a triangle, point down"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("view", [View.CC, View.MLO])
def test_labels_are_one_piece_each_without_holes(seed: int, view: View) -> None:
    mask = coarse(seed, view, muscle=True).mask
    assert set(np.unique(mask)) == {0, 1, 2}
    assert components(mask > 0) == 1
    assert components(mask == Label.PECTORAL_MUSCLE) == 1
    # Air is one piece in MLO only where no strip of abdomen parts it from the edge; a hole would be a further piece.
    padded = np.pad(mask == 0, ((1, 1), (0, 1)), constant_values=True)
    assert components(padded) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_cc_breast_leaves_air_all_around_but_at_the_chest_wall(seed: int) -> None:
    mask = coarse(seed, View.CC).mask
    assert not mask[0].any() and not mask[-1].any() and not mask[:, -1].any()
    wall = (mask[:, 0] > 0).nonzero()[0]
    assert len(wall) * 0.8 > 60, "mm along the chest wall"


def test_a_crescent_is_seen_in_some_cc_views_and_muscle_in_every_mlo() -> None:
    def has_muscle(seed: int, view: View) -> bool:
        return bool((coarse(seed, view).mask == Label.PECTORAL_MUSCLE).any())

    with_crescent = sum(has_muscle(seed, View.CC) for seed in range(40))
    assert 5 < with_crescent < 25
    assert all(has_muscle(seed, View.MLO) for seed in range(40))
    assert not (coarse(0, View.MLO, muscle=False).mask == Label.PECTORAL_MUSCLE).any()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("view", [View.CC, View.MLO])
def test_muscle_attenuates_more_than_the_tissue_beside_it(seed: int, view: View) -> None:
    breast = coarse(seed, view, muscle=True)
    muscle = (breast.mask == Label.PECTORAL_MUSCLE).astype(np.uint8)
    beside = (cv2.dilate(muscle, np.ones((9, 9), np.uint8)) > 0) & (breast.mask == Label.BREAST)
    rim = (cv2.erode(muscle, np.ones((3, 3), np.uint8)) == 0) & (muscle > 0)
    assert breast.dense[muscle > 0].mean() > breast.dense[beside].mean() + 0.2
    assert breast.dense[rim].mean() > breast.dense[beside].mean() + 0.05


def test_tissue_is_where_the_mask_is() -> None:
    breast = coarse(3, View.MLO)
    inside = breast.mask > 0
    assert np.array_equal(inside, breast.attenuation > 0)
    assert np.array_equal(inside, breast.depth > 0)
    skin = inside & (breast.depth < 2)
    assert breast.thickness[skin].max() < 0.5 * breast.thickness.max(), "the breast thins out towards the skin"


def test_same_seed_same_breast_and_another_seed_another() -> None:
    first, again, other = coarse(5, View.MLO), coarse(5, View.MLO), coarse(6, View.MLO)
    assert np.array_equal(first.dense, again.dense) and np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.mask, other.mask)
    assert not np.array_equal(first.mask, coarse(5, View.MLO, Side.RIGHT).mask[:, ::-1])


def test_the_breast_does_not_depend_on_the_grid() -> None:
    fine = make_breast(4, View.MLO, Side.LEFT, rows=600, columns=480, spacing=(0.4, 0.4))
    down = mask_to_target(fine.mask, (0.4, 0.4), (0.8, 0.8))
    assert np.mean(down == coarse(4, View.MLO).mask) > 0.995
    small = cv2.resize(fine.dense, (240, 300), interpolation=cv2.INTER_AREA)
    inside = coarse(4, View.MLO).depth > 5
    assert np.corrcoef(small[inside], coarse(4, View.MLO).dense[inside])[0, 1] > 0.9


def test_pixels_need_not_be_square() -> None:
    breast = make_breast(4, View.MLO, Side.LEFT, rows=300, columns=480, spacing=(0.8, 0.4))
    square = coarse(4, View.MLO)
    assert np.mean(breast.mask[:, ::2] == square.mask) > 0.99
    assert breast.depth.max() == pytest.approx(square.depth.max(), rel=0.05)


@pytest.mark.parametrize(
    ("view", "side", "rows"),
    [(View.ML, Side.LEFT, 300), (View.CC, Side.UNKNOWN, 300), (View.CC, Side.LEFT, 50), (View.CC, Side.LEFT, 900)],
)
def test_what_can_not_be_drawn_is_refused(view: View, side: Side, rows: int) -> None:
    with pytest.raises(ValueError, match="phantom"):
        make_breast(0, view, side, rows=rows, columns=240, spacing=(0.8, 0.8))

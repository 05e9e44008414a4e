import cv2
import numpy as np
import pytest

from maseg_nnunet.labels import Label
from maseg_nnunet.mammogram import Intent, Side, View
from maseg_nnunet.synthetic.phantom import Phantom, make_phantom


def coarse(seed: int, view: View, side: Side = Side.LEFT, intent: Intent = Intent.PROCESSED) -> Phantom:
    return make_phantom(seed, view, side, rows=300, columns=240, spacing=(0.8, 0.8), intent=intent)


@pytest.mark.parametrize("intent", list(Intent))
@pytest.mark.parametrize("view", [View.CC, View.MLO])
def test_pictures_are_gray_in_0_to_1_and_equal_for_equal_seeds(intent: Intent, view: View) -> None:
    phantom, again = coarse(7, view, intent=intent), coarse(7, view, intent=intent)
    assert phantom.image.shape == phantom.mask.shape == (300, 240)
    assert phantom.image.dtype == np.float32 and phantom.mask.dtype == np.uint8
    assert phantom.image.min() >= 0 and phantom.image.max() <= 1
    assert np.array_equal(phantom.image, again.image) and np.array_equal(phantom.mask, again.mask)
    assert not np.array_equal(phantom.image, coarse(8, view, intent=intent).image)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("intent", [Intent.PROCESSED, Intent.FILM])
def test_muscle_is_brighter_than_the_breast_and_the_breast_than_air(seed: int, intent: Intent) -> None:
    phantom = coarse(seed, View.MLO, intent=intent)
    gray = [float(np.median(phantom.image[phantom.mask == label])) for label in Label]
    assert gray[0] + 0.1 < gray[1] < gray[2] - 0.1


@pytest.mark.parametrize("seed", range(8))
def test_in_a_raw_image_it_is_the_other_way_round(seed: int) -> None:
    phantom = coarse(seed, View.MLO, intent=Intent.RAW)
    gray = [float(np.median(phantom.image[phantom.mask == label])) for label in Label]
    assert gray[0] > 0.9 and gray[0] > gray[1] > gray[2]


def test_raw_and_processed_show_the_same_breast() -> None:
    raw, processed = coarse(2, View.MLO, intent=Intent.RAW), coarse(2, View.MLO)
    assert np.array_equal(raw.mask, processed.mask)
    # Away from the skin, where the raw image shows the thickness and the processed one hardly does.
    slab = cv2.erode((processed.mask > 0).astype(np.uint8), np.ones((61, 61), np.uint8)) > 0
    assert np.corrcoef(raw.image[slab], processed.image[slab])[0, 1] < -0.85


def test_a_marker_lies_outside_the_breast_in_processed_images_alone() -> None:
    processed = coarse(2, View.MLO)
    assert (processed.image[processed.mask == 0] > 0.7).sum() > 20
    raw = coarse(2, View.MLO, intent=Intent.RAW)
    assert raw.image[raw.mask == 0].min() > 0.8


def test_the_skin_line_fades_on_film_and_not_in_processed_images() -> None:
    film = make_phantom(3, View.CC, rows=300, columns=240, spacing=(0.8, 0.8), intent=Intent.FILM)
    processed = coarse(3, View.CC)

    def rim_over_inside(phantom: Phantom) -> float:
        inside = phantom.mask > 0
        rim = inside & ~np.roll(inside, -3, axis=1)
        return float(np.median(phantom.image[rim]) / np.median(phantom.image[inside]))

    assert rim_over_inside(film) < 0.4 < 0.6 < rim_over_inside(processed)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("side", [Side.LEFT, Side.RIGHT])
def test_a_film_s_breast_ends_at_the_film_s_edge(seed: int, side: Side) -> None:
    phantom = coarse(seed, View.MLO, side, Intent.FILM)
    hung = phantom.mask if side is Side.LEFT else phantom.mask[:, ::-1]
    columns = hung.any(0).nonzero()[0]
    edge = columns[0]
    assert 0 < edge < 20, "black bed of the scanner before the film"
    assert (hung[:, edge] > 0).sum() > 100, "a straight edge"
    assert hung[0, edge] == Label.PECTORAL_MUSCLE


def test_a_phantom_knows_what_it_is() -> None:
    phantom = coarse(1, View.CC, Side.RIGHT, Intent.RAW)
    assert (phantom.view, phantom.side, phantom.intent) == (View.CC, Side.RIGHT, Intent.RAW)
    assert phantom.spacing == (0.8, 0.8)

import numpy as np
import pytest

from maseg_nnunet.synthetic import artefacts

BLACK = np.zeros((200, 300), np.float32)
KEEP = np.zeros((200, 300), bool)
KEEP[50:150, 100:200] = True


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


ALL = {
    "text": lambda image, keep: artefacts.paste_text(image, "R MLO", (90, 90), height=30, keep=keep),
    "label": lambda image, keep: artefacts.paste_label(image, "R MLO", (90, 90), height=20, angle=9, keep=keep),
    "tape": lambda image, keep: artefacts.paste_tape(image, at_left=True, width=400, rng=rng(), keep=keep),
}


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_pasted_over_what_is_kept_and_the_input_stays(name: str) -> None:
    image = rng().random(BLACK.shape, dtype=np.float32) * 0.3
    before = image.copy()
    pasted = ALL[name](image, KEEP)
    assert np.array_equal(image, before)
    assert np.array_equal(pasted[KEEP], image[KEEP])
    assert (pasted[~KEEP] > 0.7).any()
    assert pasted.min() >= 0 and pasted.max() <= 1 and pasted.dtype == np.float32
    assert (ALL[name](image, None)[KEEP] > 0.7).any(), "without `keep` it would have been covered"


def test_text_has_the_height_and_place_that_was_asked_for() -> None:
    rows, columns = artefacts.paste_text(BLACK, "LH", (40, 60), height=44, gray=1.0).nonzero()
    assert abs(rows.min() - 40) <= 4 and abs(rows.max() - 84) <= 4
    assert abs(columns.min() - 60) <= 8


def test_a_label_is_a_bright_box_with_dark_letters() -> None:
    label = artefacts.paste_label(BLACK, "L", (20, 20), height=40)
    box = label[22:98, 22:60]
    assert np.median(box) > 0.9 and box.min() < 0.2


def test_tape_lies_at_the_edge_that_was_asked_for() -> None:
    left = artefacts.paste_tape(BLACK, at_left=True, width=20, rng=rng())
    right = artefacts.paste_tape(BLACK, at_left=False, width=20, rng=rng())
    assert left[:, 0].min() > 0.7 and not left[:, 25:].any()
    assert right[:, -1].min() > 0.7 and not right[:, :-25].any()


def test_film_edge_adds_black_columns() -> None:
    scan = artefacts.paste_film_edge(np.full((200, 300), 0.5, np.float32), 7, 12, rng=rng())
    assert scan.shape == (200, 319)
    assert scan[:, :6].max() < 0.01 and scan[:, -11:].max() < 0.01
    assert np.array_equal(scan[:, 7:307], np.full((200, 300), np.float32(0.5)))


def test_a_film_ends_at_its_corners_and_spares_what_is_kept() -> None:
    film = np.full(BLACK.shape, 0.5, np.float32)
    corners = np.array([[20.0, 30.0], [20.0, 180.0], [120.0, 180.0], [120.0, 30.0]])
    ended = artefacts.end_film(film, corners, keep=KEEP)
    within = np.zeros(BLACK.shape, bool)
    within[20:121, 30:181] = True
    assert np.allclose(ended, np.where(within | KEEP, film, artefacts.SCANNER_BED), atol=1e-6)
    rimmed = artefacts.end_film(film, corners, rim=0.9, width=3, keep=KEEP)
    bright = rimmed > 0.6
    assert bright[20, 30:181].all() and bright[20:121, 30].all() and not (bright & KEEP).any()
    assert not bright[25:116, 35:176].any()
    assert np.array_equal(film, np.full(BLACK.shape, 0.5, np.float32))


def test_fog_lifts_the_background_and_not_the_breast() -> None:
    image = np.where(KEEP, np.float32(0.6), np.float32(0))
    fogged = artefacts.fog_background(image, KEEP, strength=0.1, rng=rng())
    assert np.array_equal(fogged[KEEP], image[KEEP])
    assert 0.03 < fogged[~KEEP].mean() < 0.15

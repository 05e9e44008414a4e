from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from maseg_nnunet.errors import OutputError
from maseg_nnunet.writers import png

GRAY = np.linspace(0, 1, 20 * 16, dtype=np.float32).reshape(20, 16)


def _mask() -> np.ndarray:
    """Breast in columns 0-11, muscle in its columns 0-5 above row 10."""
    mask = np.zeros((20, 16), np.uint8)
    mask[:, :12] = 1
    mask[:10, :6] = 2
    return mask


def test_mask_comes_back_with_its_values(tmp_path: Path) -> None:
    assert png.write_mask_png(tmp_path / "m.png", _mask())
    assert not png.write_mask_png(tmp_path / "m.png", _mask())
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "m.png"), cv2.IMREAD_UNCHANGED), _mask())


def test_displayed_is_eight_bit_gray(tmp_path: Path) -> None:
    png.write_displayed(tmp_path / "d.png", GRAY)
    read = cv2.imread(str(tmp_path / "d.png"), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint8
    np.testing.assert_allclose(read / 255, GRAY, atol=0.5 / 255 + 1e-6)


def test_gray_clamps_and_survives_nan() -> None:
    np.testing.assert_array_equal(png.to_gray(np.array([-1.0, 0.5, 2.0, np.nan])), [0, 128, 255, 0])


def test_overlay_draws_two_pixels_along_each_edge_and_nothing_else() -> None:
    picture = png.overlay(GRAY, _mask())
    assert picture.shape == (20, 16, 3)
    red = (picture == png.RED).all(axis=2)
    blue = (picture == png.BLUE).all(axis=2)
    expected_red = np.zeros((20, 16), bool)
    expected_red[:, 11:13] = True
    expected_blue = np.zeros((20, 16), bool)
    expected_blue[:11, 5:7] = True
    expected_blue[9:11, :7] = True
    np.testing.assert_array_equal(red, expected_red)
    np.testing.assert_array_equal(blue, expected_blue)
    rest = ~(red | blue)
    np.testing.assert_array_equal(picture[rest], np.repeat(png.to_gray(GRAY)[rest][:, None], 3, axis=1))


def test_muscle_against_background_is_red() -> None:
    mask = np.zeros((20, 16), np.uint8)
    mask[:10] = 2
    picture = png.overlay(GRAY, mask)
    assert (picture[9:11] == png.RED).all()
    assert not (picture == png.BLUE).all(axis=2).any()


def test_empty_mask_draws_nothing() -> None:
    picture = png.overlay(GRAY, np.zeros_like(_mask()))
    np.testing.assert_array_equal(picture, np.repeat(png.to_gray(GRAY)[:, :, None], 3, axis=2))


def test_preview_is_small_and_red_stays_red_in_the_file(tmp_path: Path) -> None:
    mask = np.zeros((3000, 1000), np.uint8)
    mask[:, :500] = 1
    png.write_preview(tmp_path / "p.png", np.zeros(mask.shape, np.float32), mask)
    blue, green, red = cv2.split(cv2.imread(str(tmp_path / "p.png"), cv2.IMREAD_UNCHANGED))
    assert red.shape == (1536, 512)
    assert (red[:, 255:257] == 255).all() and not red[:, :255].any() and not red[:, 257:].any()
    assert not blue.any() and not green.any()


def test_shrinking_keeps_the_proportions_and_never_enlarges() -> None:
    assert png.shrink(np.ones((1000, 500), np.float32), 256).shape == (256, 128)
    assert png.shrink(GRAY, 256).shape == GRAY.shape


def test_other_shapes_and_types_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="shape"):
        png.overlay(GRAY, _mask()[:-1])
    with pytest.raises(OutputError, match="shape"):
        png.write_preview(tmp_path / "p.png", GRAY, _mask().T)
    with pytest.raises(OutputError, match="uint8"):
        png.write_mask_png(tmp_path / "m.png", _mask().astype(np.int64))
    assert list(tmp_path.iterdir()) == []

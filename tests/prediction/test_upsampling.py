"""Labels on the fine grid, compared with interpolating every pixel of every channel."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maseg_nnunet.arrays import Spacing
from maseg_nnunet.prediction import upsampling
from maseg_nnunet.prediction.upsampling import labels_on_source
from maseg_nnunet.resample import image_to_source, target_shape


def slow(
    logits: npt.NDArray[np.float32], shape: tuple[int, int], spacing: Spacing, pitch: Spacing
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """The labels, and where they do not depend on rounding."""
    fine = np.stack([image_to_source(channel, shape, spacing, pitch) for channel in logits])
    ranked = np.sort(fine, axis=0)
    return fine.argmax(axis=0).astype(np.uint8), ranked[-1] - ranked[-2] > 1e-4


@settings(max_examples=150, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    spacing=st.tuples(st.floats(0.05, 1.0), st.floats(0.05, 1.0)),
    smooth=st.floats(0.0, 3.0),
    seed=st.integers(0, 999),
)
def test_every_pixel_gets_the_label_of_its_largest_interpolated_logit(
    shape: tuple[int, int], spacing: Spacing, smooth: float, seed: int
) -> None:
    pitch = (0.4, 0.4)
    size = target_shape(shape, spacing, pitch)
    logits = np.random.default_rng(seed).normal(size=(3, *size)).astype(np.float32)
    if smooth > 0.3:
        logits = np.stack([cv2.GaussianBlur(channel, (0, 0), smooth) for channel in logits]).reshape(3, *size)
    expected, clear = slow(logits, shape, spacing, pitch)
    found = labels_on_source(logits, shape, spacing, pitch)
    assert found.dtype == np.uint8 and found.shape == shape
    np.testing.assert_array_equal(found[clear], expected[clear])


def test_the_size_of_the_parts_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.random.default_rng(0).normal(size=(3, 20, 30)).astype(np.float32)
    whole = labels_on_source(logits, (123, 181), (0.065, 0.066), (0.4, 0.4))
    monkeypatch.setattr(upsampling, "CELLS_AT_ONCE", 7)
    np.testing.assert_array_equal(labels_on_source(logits, (123, 181), (0.065, 0.066), (0.4, 0.4)), whole)


def test_of_equal_logits_the_first_label_wins() -> None:
    assert not labels_on_source(np.ones((3, 4, 4), dtype=np.float32), (16, 16), (0.1, 0.1), (0.4, 0.4)).any()


def test_on_the_same_grid_it_is_argmax() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 20, 30)).astype(np.float32)
    np.testing.assert_array_equal(labels_on_source(logits, (20, 30), (0.4, 0.4), (0.4, 0.4)), logits.argmax(axis=0))

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from maseg_nnunet.resample import (
    image_to_source,
    image_to_target,
    mask_to_source,
    mask_to_target,
    target_shape,
)

Spacing = tuple[float, float]

spacings = st.floats(0.02, 1.0).map(lambda value: round(value, 4))
grids = st.tuples(
    st.tuples(st.integers(1, 60), st.integers(1, 60)), st.tuples(spacings, spacings), st.tuples(spacings, spacings)
)


def reference(
    image: npt.NDArray[Any], spacing: Spacing, target: Spacing, shape: tuple[int, int], order: int
) -> npt.NDArray[Any]:
    """`image` at `spacing`, sampled at the centres of a grid of `shape` at `target` from the same outer corner."""
    rows, columns = (
        (np.arange(count) + 0.5) * to / own - 0.5 for count, to, own in zip(shape, target, spacing, strict=True)
    )
    at = np.meshgrid(rows, columns, indexing="ij")
    return map_coordinates(image.astype(np.float64), at, order=order, mode="nearest")


def random_image(shape: tuple[int, int], seed: int = 0) -> npt.NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(0, 4096, shape).astype(np.uint16)


@settings(max_examples=150, deadline=None)
@given(grid=grids)
def test_images_to_the_target_are_linear_between_centres(grid: Any) -> None:
    shape, spacing, target = grid
    image = random_image(shape)
    found = image_to_target(image, spacing, target)
    assert found.dtype == np.float32
    assert found.shape == target_shape(shape, spacing, target)
    np.testing.assert_allclose(found, reference(image, spacing, target, found.shape, 1), atol=4096 * 1e-5)


@settings(max_examples=150, deadline=None)
@given(grid=grids)
def test_the_target_covers_the_source_and_no_more(grid: Any) -> None:
    shape, spacing, target = grid
    for count, source, own, to in zip(target_shape(shape, spacing, target), shape, spacing, target, strict=True):
        assert count * to >= source * own * (1 - 1e-5)
        assert count == 1 or (count - 1) * to < source * own


@settings(max_examples=150, deadline=None)
@given(grid=grids)
def test_masks_take_the_heaviest_label_there_and_the_nearest_pixel_back(grid: Any) -> None:
    shape, spacing, target = grid
    mask = (random_image(shape) % 3).astype(np.uint8)
    there = mask_to_target(mask, spacing, target)
    assert there.dtype == np.uint8
    assert there.shape == target_shape(shape, spacing, target)
    check_heaviest(mask, there, spacing, target)
    back = mask_to_source(there, shape, spacing, target)
    assert back.shape == shape
    if spacing[0] <= target[0] and spacing[1] <= target[1]:
        check_nearest(there, back, target, spacing)
    else:
        check_heaviest(there, back, target, spacing)


def check_heaviest(mask: npt.NDArray[Any], found: npt.NDArray[Any], spacing: Spacing, target: Spacing) -> None:
    weights = np.array([reference(mask == label, spacing, target, found.shape, 1) for label in range(3)])
    taken = np.take_along_axis(weights, found[None].astype(int), 0)[0]
    np.testing.assert_allclose(taken, weights.max(axis=0), atol=1e-5)


def check_nearest(mask: npt.NDArray[Any], found: npt.NDArray[Any], spacing: Spacing, target: Spacing) -> None:
    """Every label is that of the nearest centre; where two are equally near, of either."""
    for row in range(0, found.shape[0], 7):
        for column in range(0, found.shape[1], 5):
            near = [
                {
                    min(max(int(np.floor(position + shift)), 0), count - 1)
                    for shift in (0.5 - 1e-5, 0.5 + 1e-5)
                    for position in [(index + 0.5) * to / own - 0.5]
                }
                for index, to, own, count in zip((row, column), target, spacing, mask.shape, strict=True)
            ]
            assert found[row, column] in {mask[r, c] for r in near[0] for c in near[1]}


@settings(max_examples=80, deadline=None)
@given(grid=grids)
def test_channels_come_back_linearly(grid: Any) -> None:
    shape, spacing, target = grid
    channel = random_image(target_shape(shape, spacing, target), 1).astype(np.float32) / 4096
    found = image_to_source(channel, shape, spacing, target)
    assert found.shape == shape
    assert found.dtype == np.float32
    expected = reference(channel, target, spacing, shape, 1)
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize(
    ("shape", "spacing", "target", "expected"),
    [
        ((1024, 1024), (0.2, 0.2), (0.4, 0.4), (512, 512)),
        ((3328, 2560), (0.07, 0.07), (0.4, 0.4), (583, 448)),
        ((4084, 3328), (0.07, 0.07), (0.4, 0.4), (715, 583)),
        ((3, 3), (0.1, 0.3), (0.4, 0.4), (1, 3)),
        ((10, 10), (0.3, 0.1), (0.1, 0.1), (30, 10)),
        ((1, 1), (0.02, 0.02), (1.0, 1.0), (1, 1)),
    ],
)
def test_sizes_by_hand(shape: Any, spacing: Any, target: Any, expected: Any) -> None:
    assert target_shape(shape, spacing, target) == expected


def test_halving_by_hand() -> None:
    # Target centres lie on the corners of the source's pixels: each is the mean of four.
    image = np.array([[0, 2, 10, 20], [4, 6, 30, 40]], np.uint16)
    np.testing.assert_allclose(image_to_target(image, (0.2, 0.2), (0.4, 0.4)), [[3, 25]])


@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize(("spacing", "target"), [(0.2, 0.4), (0.1, 0.4), (0.2, 0.8), (0.1, 0.3), (0.07, 0.4)])
def test_a_mask_stays_on_its_image(spacing: float, target: float, is_whole: bool) -> None:
    """The centroid of a mask moves by less than 0.01 mm against that of its image, and its area stays."""
    rng = np.random.default_rng(4)
    shifts, areas = [], []
    for _ in range(20):
        row, column = np.mgrid[:640, :480]
        centre = rng.uniform((250, 180), (350, 280)) * (1, is_whole)  # a half lies at the wall
        disc = (np.hypot(row - centre[0], 0.8 * (column - centre[1])) < rng.uniform(90, 150)).astype(np.uint8)
        mask = mask_to_target(disc, (spacing, spacing), (target, target))
        image = image_to_target(disc, (spacing, spacing), (target, target))
        at = np.mgrid[: mask.shape[0], : mask.shape[1]]
        shifts.append(
            [np.average(axis, weights=mask) - np.average(axis, weights=image) for axis in at] * np.array(target)
        )
        areas.append(mask.sum() / image.sum())
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.01
    assert abs(np.mean(areas) - 1) < 0.001


def test_equal_weights_take_the_lower_and_the_higher_label_in_turn() -> None:
    mask = np.repeat([[0, 0, 0, 1, 1, 2, 2, 2]], 4, axis=0).astype(np.uint8)
    mask[:, 2] = 0
    np.testing.assert_array_equal(mask_to_target(mask, (0.2, 0.2), (0.4, 0.4)), [[0, 1, 1, 2], [0, 0, 2, 2]])


def test_the_same_spacing_changes_nothing() -> None:
    image = random_image((37, 23))
    np.testing.assert_array_equal(image_to_target(image, (0.07, 0.09), (0.07, 0.09)), image)
    mask = (image % 3).astype(np.uint8)
    np.testing.assert_array_equal(mask_to_target(mask, (0.07, 0.09), (0.07, 0.09)), mask)
    np.testing.assert_array_equal(mask_to_source(mask, (37, 23), (0.07, 0.09), (0.07, 0.09)), mask)


def test_nothing_shifts_on_the_way_there_and_back() -> None:
    """A large disc keeps its centre: the published pipeline moves masks by about 0.16 mm."""
    shape, spacing, target = (900, 700), (0.07, 0.07), (0.4, 0.4)
    row, column = np.mgrid[: shape[0], : shape[1]]
    disc = (np.hypot(row - 430, column - 320) < 250).astype(np.uint8)
    back = mask_to_source(mask_to_target(disc, spacing, target), shape, spacing, target)
    for axis, centre in ((row, 430), (column, 320)):
        assert abs(axis[back > 0].mean() - centre) * 0.07 < 0.02
    probability = image_to_source(image_to_target(disc, spacing, target), shape, spacing, target)
    for axis, centre in ((row, 430), (column, 320)):
        assert abs(np.average(axis, weights=probability) - centre) * 0.07 < 0.02
    # less than two of the source's pixels along the edge, where one of the target's is six
    assert np.abs((probability > 0.5) - disc.astype(int)).sum() < 2 * (2 * np.pi * 250)


def test_every_type_of_number() -> None:
    image = random_image((30, 40))
    expected = image_to_target(image, (0.1, 0.1), (0.3, 0.3))
    for dtype in (np.int16, np.int32, np.float32, np.float64):
        np.testing.assert_allclose(image_to_target(image.astype(dtype), (0.1, 0.1), (0.3, 0.3)), expected, rtol=1e-6)
    image = image.copy()
    image.setflags(write=False)
    np.testing.assert_array_equal(image_to_target(image, (0.1, 0.1), (0.3, 0.3)), expected)

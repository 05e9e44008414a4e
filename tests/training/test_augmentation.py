"""Against a slow reference that transforms step by step with SciPy, in single images and in distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, stats

from maseg_nnunet.training.augmentation import (
    NEGLIGIBLE,
    Placement,
    Recipe,
    change_gray,
    displacement_bound,
    draw_affine,
    draw_corner,
    draw_displacement,
    place,
    sample,
    source_box,
)

FRAME = (148, 120)
PATCH = (96, 80)
DEFORMING = Recipe(alpha=120.0, sigma=12.0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def phantom(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    noise = rng(seed).random(FRAME)
    image = ndimage.gaussian_filter(noise, 5)
    image = (image - image.min()) / np.ptp(image)
    return image.astype(np.float32), np.digitize(image, [0.4, 0.6]).astype(np.int16)


def stepwise_point(point: tuple[float, float], recipe: Recipe, random: np.random.Generator) -> tuple[float, float]:
    """Where a point (x, y) goes: mirrored, turned, then moved as the three corners are, by barycentric weights."""
    rows, columns = FRAME
    x, y = point
    if random.random() < recipe.flip:
        x = columns - 1 - x
    angle = np.deg2rad(random.uniform(-recipe.rotation, recipe.rotation))
    middle = complex((columns - 1) / 2, (rows - 1) / 2)
    turned = middle + (complex(x, y) - middle) * np.exp(1j * angle)
    half = min(rows, columns) // 3
    a, b, c = (middle + half * corner for corner in (1 + 1j, 1 - 1j, -1 - 1j))
    weights = np.linalg.solve(
        [[a.real, b.real, c.real], [a.imag, b.imag, c.imag], [1, 1, 1]], [turned.real, turned.imag, 1]
    )
    reach = recipe.alpha_affine
    moved = [z + complex(*random.uniform(-reach, reach, 2)) for z in (a, b, c)]
    end = sum(w * z for w, z in zip(weights, moved, strict=True))
    return end.real, end.imag


@pytest.mark.parametrize("point", [(10.0, 12.0), (60.0, 70.0), (110.0, 140.0)])
def test_points_move_as_in_the_stepwise_recipe(point: tuple[float, float]) -> None:
    recipe, ours, reference = Recipe(alpha_affine=15.0), rng(1), rng(2)
    moved = np.array([np.linalg.solve(draw_affine(FRAME, recipe, ours), [*point, 1])[:2] for _ in range(4000)])
    expected = np.array([stepwise_point(point, recipe, reference) for _ in range(4000)])
    for axis in range(2):
        assert stats.ks_2samp(moved[:, axis], expected[:, axis]).pvalue > 1e-3
        assert moved[:, axis].std() == pytest.approx(expected[:, axis].std(), rel=0.05)


def test_rotation_is_uniform_within_five_degrees() -> None:
    recipe, random = Recipe(alpha_affine=0.0, flip=0.0), rng()
    matrices = [draw_affine(FRAME, recipe, random) for _ in range(3000)]
    angles = np.array([np.rad2deg(np.arctan2(m[1, 0], m[0, 0])) for m in matrices])
    assert np.abs(angles).max() <= 5 + 1e-9
    assert stats.kstest(angles, stats.uniform(-5, 10).cdf).pvalue > 1e-3
    assert np.allclose([np.linalg.det(m) for m in matrices], 1)


def test_half_of_the_breasts_are_mirrored_and_none_stands_on_its_head() -> None:
    random = rng()
    matrices = np.array([draw_affine(FRAME, Recipe(), random) for _ in range(2000)])
    assert np.mean(matrices[:, 0, 0] < 0) == pytest.approx(0.5, abs=0.04)
    assert matrices[:, 1, 1].min() > 0


def test_small_images_do_not_fold_over() -> None:
    random = rng()
    for _ in range(500):
        assert np.linalg.det(draw_affine((30, 24), Recipe(flip=0.0), random)) > 0.2


@pytest.mark.parametrize(
    ("frame", "patch"), [((720, 592), (512, 512)), ((500, 400), (512, 512)), ((900, 130), (96, 80))]
)
def test_crop_reaches_an_eighth_outside_and_no_further(frame: tuple[int, int], patch: tuple[int, int]) -> None:
    random = rng()
    corners = np.array([draw_corner(frame, patch, 0.125, random) for _ in range(4000)])
    for axis in range(2):
        margin, overhang = patch[axis] // 8, corners[:, axis] + patch[axis] - frame[axis]
        assert (corners[:, axis].min(), overhang.max()) == (-margin, margin)


def test_a_frame_much_smaller_than_the_patch_lies_wholly_in_it() -> None:
    random = rng()
    corners = np.array([draw_corner((100, 100), (512, 512), 0.125, random) for _ in range(3000)])
    assert (corners.min(), corners.max()) == (100 - 512, 0)


def test_crop_holds_the_point_asked_for() -> None:
    random = rng()
    for _ in range(300):
        point = int(random.integers(720)), int(random.integers(592))
        corner = draw_corner((720, 592), (512, 512), 0.125, random, point)
        assert all(0 <= p - c < 512 for p, c in zip(point, corner, strict=True))
    for outside in ((-50, 5), (900, 900)):
        corner = draw_corner((720, 592), (512, 512), 0.125, random, outside)
        assert -64 <= corner[0] <= 720 - 512 + 64
        assert -64 <= corner[1] <= 592 - 512 + 64


def test_placed_patch_holds_the_muscle_pixel_after_all_transforms() -> None:
    random, point = rng(), (20, 100)
    labels = np.zeros(FRAME, dtype=np.int16)
    labels[point[0] - 1 : point[0] + 2, point[1] - 1 : point[1] + 2] = 2
    image = np.zeros(FRAME, dtype=np.float32)
    held = 0
    for _ in range(200):
        placement = place(FRAME, (64, 48), Recipe(alpha_affine=10.0), random, point)
        box = source_box(placement)
        held += sample(image[box], labels[box], placement, box)[1].max() == 2
    assert held > 190  # a point near the edge may be carried out of the frame


@pytest.mark.parametrize("recipe", [Recipe(), DEFORMING, Recipe(rotation=0, alpha_affine=0, flip=1.0)])
@pytest.mark.parametrize("patch", [PATCH, (200, 160)])
def test_one_sampling_of_the_needed_part_is_scipys_of_the_whole(recipe: Recipe, patch: tuple[int, int]) -> None:
    image, labels = phantom()
    random = rng(3)
    for _ in range(8):
        placement = place(FRAME, patch, recipe, random)
        box = source_box(placement)
        ours, classes = sample(image[box], labels[box], placement, box)
        y, x = (grid.astype(float) for grid in np.indices(patch))
        y, x = y + placement.corner[0], x + placement.corner[1]
        in_frame = (y >= 0) & (x >= 0) & (y < FRAME[0]) & (x < FRAME[1])
        if placement.field is not None:
            x, y = x + placement.field[0], y + placement.field[1]
        source = np.einsum("ij,jrc->irc", placement.matrix, np.stack([x, y, np.ones(patch)]))[1::-1]
        expected = ndimage.map_coordinates(image.astype(float), source, order=1, mode="grid-constant") * in_frame
        nearest = ndimage.map_coordinates(labels, source, order=0, mode="grid-constant") * in_frame
        assert ours.dtype == np.float32 and classes.dtype == np.uint8
        # OpenCV may round positions to 1/32 of a pixel.
        assert np.abs(ours - expected).max() < 0.02
        assert np.mean(classes != nearest) < 0.01


def test_labels_stay_where_the_image_has_them() -> None:
    # Dark along the edges, where the image is blended with the outside and its labels are not.
    image = phantom()[0] * np.pad(np.ones((FRAME[0] - 8, FRAME[1] - 8), dtype=np.float32), 4)
    image = ndimage.gaussian_filter(image, 2)
    is_bright = (image > 0.5).astype(np.int16)
    random = rng(4)
    for _ in range(10):
        placement = place(FRAME, PATCH, DEFORMING, random)
        box = source_box(placement)
        warped, classes = sample(image[box], is_bright[box], placement, box)
        clear = np.abs(warped - 0.5) > 0.1
        assert clear.mean() > 0.3
        assert np.array_equal(classes[clear], warped[clear] > 0.5)


def test_outside_is_zero_and_ignored_labels_are_background() -> None:
    placement = Placement(np.eye(3), FRAME, (-12, 100), PATCH)
    box = source_box(placement)
    image, labels = np.ones(FRAME, dtype=np.float32), np.full(FRAME, 2, dtype=np.int8)
    labels[:, 110:] = -1
    patch, classes = sample(image[box], labels[box], placement, box)
    assert patch[:12].max() == patch[:, 20:].max() == 0
    assert patch[12:, :20].min() == 1
    assert np.array_equal(np.unique(classes[12:, :10]), [2])
    assert classes[:12].max() == classes[:, 10:].max() == 0


def test_a_patch_beyond_the_image_is_empty() -> None:
    placement = Placement(np.eye(3), FRAME, (500, 500), PATCH)
    box = source_box(placement)
    patch, classes = sample(np.ones(FRAME, dtype=np.float32)[box], np.ones(FRAME)[box], placement, box)
    assert patch.shape == classes.shape == PATCH
    assert patch.max() == classes.max() == 0


def test_displacement_has_the_moments_of_smoothed_uniform_noise() -> None:
    alpha, sigma, random, reference = 300.0, 20.0, rng(5), rng(6)
    ours = np.array([draw_displacement((64, 64), alpha, sigma, random) for _ in range(300)])
    # "wrap" makes SciPy's field stationary, as one that goes on beyond the patch is.
    smooth = [
        alpha * ndimage.gaussian_filter(reference.uniform(-1, 1, (160, 160)), sigma, mode="wrap")[:64, :64]
        for _ in range(600)
    ]
    expected = np.array(smooth)
    for row, column in ((0, 0), (33, 40), (63, 63)):
        here, there = ours[:, :, row, column], expected[:, row, column]
        assert here.mean() == pytest.approx(0, abs=4 * there.std() / np.sqrt(here.size))
        assert here.std() == pytest.approx(there.std(), rel=0.12)
        assert stats.kurtosis(here, axis=None) == pytest.approx(0, abs=0.6)
    neighbours = np.corrcoef(ours[:, :, 20, 10].ravel(), ours[:, :, 20, 30].ravel())[0, 1]
    assert neighbours == pytest.approx(np.corrcoef(expected[:, 20, 10], expected[:, 20, 30])[0, 1], abs=0.08)
    assert abs(np.corrcoef(ours[:, 0, 20, 10], ours[:, 1, 20, 10])[0, 1]) < 0.2
    assert ours.std() * 6 == pytest.approx(displacement_bound(alpha, sigma), rel=0.1)


def test_the_papers_displacement_is_negligible_and_skipped() -> None:
    paper = Recipe()
    field = paper.alpha * ndimage.gaussian_filter(rng().uniform(-1, 1, (512, 512)), paper.sigma)
    assert np.abs(field).max() < displacement_bound(paper.alpha, paper.sigma) < NEGLIGIBLE
    assert draw_displacement((512, 512), paper.alpha, paper.sigma, rng()) is None


def test_gray_is_distributed_as_in_the_reference() -> None:
    levels = np.linspace(0.0, 1.0, 9, dtype=np.float32)
    ours, reference = rng(7), rng(8)
    changed = np.array([change_gray(levels, Recipe(), ours) for _ in range(4000)])
    gammas = reference.uniform(0.5, 1.5, (4000, 1))
    expected = np.clip(levels**gammas + reference.normal(0, 0.05, (4000, 9)), 0, 1)
    assert changed.dtype == np.float32 and changed.min() >= 0 and changed.max() <= 1
    for level in range(9):
        assert stats.ks_2samp(changed[:, level], expected[:, level]).pvalue > 1e-3


def test_noise_drawn_from_zero_is_weaker() -> None:
    gray = np.full((64, 64), 0.5, dtype=np.float32)
    drawn = Recipe(gamma=(1.0, 1.0), noise=(0.0, 0.05))
    random = rng()
    deviations = np.array([change_gray(gray, drawn, random).std() for _ in range(200)])
    assert deviations.min() < 0.005 and 0.045 < deviations.max() < 0.052
    assert np.array_equal(change_gray(gray, Recipe(gamma=(1.0, 1.0), noise=(0.0, 0.0)), random), gray)


def test_lengths_follow_the_spacing() -> None:
    assert Recipe().at_spacing(0.8) == Recipe(alpha=0.5, sigma=50.0, alpha_affine=10.0)

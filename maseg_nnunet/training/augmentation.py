"""The paper's training augmentation after the look-up table: space, gamma, noise (section 2.2.2, Table 3).

The paper flips, rotates, deforms and crops one after the other; here the steps are composed and the image is sampled
once, linearly, and its labels once, nearest. Look-up tables come before and are in `lut_jitter.py`; reading the
part of an image that a patch needs is in `patches.py`.

The *frame* is the grid of the transformed image, as large as the image itself; a patch is cut out of the frame and may
reach beyond it. Shapes are (rows, columns); points and matrices are (x, y) = (column, row) with pixel centres at
integers, as OpenCV has them. Every function draws from the generator it is given, in a fixed order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import FloatArray, Image, Mask, Shape

PAPER_SPACING: Final = 0.4
"""mm; the lengths in the paper's Table 3 are in pixels of this size."""

NEGLIGIBLE: Final = 0.05
"""A displacement field that stays below this many pixels is not computed."""

_NODES_PER_SIGMA: Final = 6


@dataclass(frozen=True)
class Recipe:
    """Table 3. Lengths (`alpha`, `sigma`, `alpha_affine`) are in pixels, `rotation` in degrees.

    `lut_jitter`: largest change of a look-up table's center and width, as a share of either. `flip`: probability of
    left-right mirroring; breasts are never turned upside down. `alpha`, `sigma`: height and width of the random
    displacement field. `alpha_affine`: how far each of three corners moves at most, in x and in y. `outside`: share of
    the patch that may lie outside the frame. `gamma`: range of the exponent. `noise`: range of the noise's standard
    deviation as a share of the range of gray; Table 3 has 5 %, always.
    """

    lut_jitter: float = 0.05
    flip: float = 0.5
    rotation: float = 5.0
    alpha: float = 1.0
    sigma: float = 100.0
    alpha_affine: float = 20.0
    outside: float = 0.125
    gamma: tuple[float, float] = (0.5, 1.5)
    noise: tuple[float, float] = (0.05, 0.05)

    def at_spacing(self, spacing: float) -> Recipe:
        """The same recipe in millimetres for pixels of `spacing` mm, given for the paper's 0.4 mm."""
        factor = PAPER_SPACING / spacing
        return replace(
            self, alpha=self.alpha * factor, sigma=self.sigma * factor, alpha_affine=self.alpha_affine * factor
        )


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a patch of shape `patch` gets its pixels from.

    `matrix`: (3, 3), frame to image. `frame`: shape of frame and image. `corner`: (row, column) of the patch's first
    pixel in the frame, may be negative. `field`: displacements (2, rows, columns) in x and y of the patch's pixels,
    added before `matrix` is applied, or None.
    """

    matrix: FloatArray
    frame: Shape
    corner: tuple[int, int]
    patch: Shape
    field: Image | None = None

    @property
    def inside(self) -> tuple[slice, slice]:
        """The part of the patch that lies in the frame; may be empty."""
        rows, columns = (
            slice(max(0, -start), max(0, min(size, whole - start)))
            for start, size, whole in zip(self.corner, self.patch, self.frame, strict=True)
        )
        return rows, columns


def place(
    frame: Shape, patch: Shape, recipe: Recipe, rng: np.random.Generator, point: tuple[int, int] | None = None
) -> Placement:
    """Draw flip, rotation, elastic deformation and crop for an image of shape `frame`.

    `point`: (row, column) in the image that the patch is to hold, such as one of the muscle.
    """
    matrix = draw_affine(frame, recipe, rng)
    if point is not None:
        x, y, _ = np.linalg.solve(matrix, [point[1], point[0], 1.0])
        point = round(y), round(x)
    corner = draw_corner(frame, patch, recipe.outside, rng, point)
    return Placement(matrix, frame, corner, patch, draw_displacement(patch, recipe.alpha, recipe.sigma, rng))


def draw_affine(frame: Shape, recipe: Recipe, rng: np.random.Generator) -> FloatArray:
    """A random (3, 3) matrix from the frame to the image: flip, rotation, affine part of the elastic deformation.

    Flip and rotation are about the image's centre. The affine part (Simard's deformation by its usual recipe) moves
    three corners of a centred square of half-side min(rows, columns) // 3 by up to `alpha_affine` pixels in x and y;
    in images so small that it might fold over, by no more than half the half-side.
    """
    rows, columns = frame
    flip, angle = rng.random() < recipe.flip, np.deg2rad(rng.uniform(-recipe.rotation, recipe.rotation))
    half = max(1, min(frame) // 3)
    reach = min(recipe.alpha_affine, half / 2)
    corners = half * np.array([[1, 1, -1], [1, -1, -1], [0, 0, 0]], dtype=np.float64) + [[0], [0], [1]]
    moved = corners + np.vstack([rng.uniform(-reach, reach, (2, 3)), np.zeros(3)])
    cosine, sine = np.cos(angle), np.sin(angle)
    rotation = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    mirror = np.diag([-1.0 if flip else 1.0, 1.0, 1.0])
    centre = np.array([[1, 0, (columns - 1) / 2], [0, 1, (rows - 1) / 2], [0, 0, 1]])
    forward = moved @ np.linalg.inv(corners) @ rotation @ mirror
    return np.asarray(centre @ np.linalg.inv(forward) @ np.linalg.inv(centre), dtype=np.float64)


def draw_corner(
    frame: Shape, patch: Shape, outside: float, rng: np.random.Generator, point: tuple[int, int] | None = None
) -> tuple[int, int]:
    """(row, column) in the frame of the patch's first pixel, uniform among those allowed.

    At most the share `outside` of the patch's side lies beyond either edge of the frame; where the frame is too small
    for that, it lies wholly in the patch. `point` (row, column) in the frame is held where that is possible.
    """
    start = []
    for axis in range(2):
        size, whole = patch[axis], frame[axis]
        margin = int(outside * size)
        low, high = -margin, whole - size + margin
        if low > high:
            low, high = whole - size, 0
        if point is not None:
            # Clipped into what is allowed: the affine part can carry a point out of the frame.
            low, high = (int(np.clip(value, low, high)) for value in (point[axis] - size + 1, point[axis]))
        start.append(int(rng.integers(low, high, endpoint=True)))
    return start[0], start[1]


def displacement_bound(alpha: float, sigma: float) -> float:
    """Six standard deviations of a displacement in pixels, or `alpha` where that is less: none gets larger.

    The field is uniform noise in (-1, 1), smoothed by a Gaussian of `sigma` pixels and multiplied by `alpha` (Simard).
    Smoothing leaves it a standard deviation of alpha / sqrt(3) / (2 sqrt(pi) sigma).
    """
    return min(alpha, 6 * alpha / (2 * math.sqrt(3 * math.pi) * max(sigma, 1e-6)))


def draw_displacement(patch: Shape, alpha: float, sigma: float, rng: np.random.Generator) -> Image | None:
    """Simard's displacement field for a patch: (2, rows, columns) pixels in x and y, or None where it is negligible.

    With the paper's alpha 1 and sigma 100 the standard deviation is 0.0016 pixel and the bound 0.01: far below
    `NEGLIGIBLE`, so nothing is computed. Otherwise the noise is drawn and smoothed on a grid of sigma / 6 pixels
    and interpolated, which has the same moments.
    """
    if displacement_bound(alpha, sigma) < NEGLIGIBLE:
        return None
    step = max(1, int(sigma / _NODES_PER_SIGMA))
    margin = int(np.ceil(4 * sigma / step)) + 1
    rows, columns = (int(np.ceil(size / step)) + 2 for size in patch)
    shape = 2, rows + 2 * margin, columns + 2 * margin
    # A node stands for step x step independent uniform values, whose mean is all but Gaussian.
    noise = rng.uniform(-1, 1, shape) if step == 1 else rng.standard_normal(shape) / (np.sqrt(3) * step)
    field = np.empty((2, *patch), dtype=np.float32)
    for axis in range(2):
        smooth = cv2.GaussianBlur(alpha * noise[axis], (0, 0), sigma / step)
        nodes = smooth[margin : margin + rows, margin : margin + columns].astype(np.float32)
        to_nodes = np.array([[1 / step, 0, 0.5], [0, 1 / step, 0.5]])
        size = patch[1], patch[0]
        cv2.warpAffine(nodes, to_nodes, size, dst=field[axis], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return field


def source_box(placement: Placement) -> tuple[slice, slice]:
    """Rows and columns of the image that the patch is sampled from; empty slices where it lies beyond the image."""
    rows, columns = placement.inside
    x = np.array([columns.start, columns.stop - 1], dtype=np.float64) + placement.corner[1]
    y = np.array([rows.start, rows.stop - 1], dtype=np.float64) + placement.corner[0]
    corners = placement.matrix[:2] @ np.array([x[[0, 0, 1, 1]], y[[0, 1, 0, 1]], np.ones(4)])
    # One pixel for the linear interpolation, and what the field adds.
    reach = 1 + (
        0 if placement.field is None else np.abs(placement.matrix[:2, :2]).sum() * np.abs(placement.field).max()
    )
    box = []
    for values, whole in ((corners[1], placement.frame[0]), (corners[0], placement.frame[1])):
        start = int(np.clip(np.floor(values.min() - reach), 0, whole))
        box.append(slice(start, int(np.clip(np.ceil(values.max() + reach) + 1, start, whole))))
    return box[0], box[1]


def sample(
    image: Image, labels: npt.NDArray[Any], placement: Placement, box: tuple[slice, slice]
) -> tuple[Image, Mask]:
    """The patch's image, linearly, and labels, nearest: float32 and uint8 of shape `placement.patch`.

    `image` and `labels` are the part `box` of the whole image (see `source_box`); negative labels, nnU-Net's mark for
    what lies outside a cropped case, become background. Outside the frame and the image both are 0.
    """
    patch_image = np.zeros(placement.patch, dtype=np.float32)
    patch_labels = np.zeros(placement.patch, dtype=np.uint8)
    rows, columns = placement.inside
    if min(image.shape) == 0 or rows.stop <= rows.start or columns.stop <= columns.start:
        return patch_image, patch_labels
    start_y, start_x = placement.corner[0] + rows.start, placement.corner[1] + columns.start
    to_frame = np.array([[1, 0, start_x], [0, 1, start_y], [0, 0, 1]], dtype=np.float64)
    to_crop = np.array([[1, 0, -box[1].start], [0, 1, -box[0].start], [0, 0, 1]], dtype=np.float64)
    matrix = (to_crop @ placement.matrix @ to_frame)[:2]
    size = columns.stop - columns.start, rows.stop - rows.start
    classes = np.maximum(labels, 0).astype(np.uint8)
    if placement.field is None:
        patch_image[rows, columns] = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        patch_labels[rows, columns] = cv2.warpAffine(
            classes, matrix, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        )
    else:
        x, y = _maps(matrix, placement.field[:, rows, columns])
        patch_image[rows, columns] = cv2.remap(image, x, y, cv2.INTER_LINEAR)
        patch_labels[rows, columns] = cv2.remap(classes, x, y, cv2.INTER_NEAREST)
    return patch_image, patch_labels


def _maps(matrix: FloatArray, field: Image) -> tuple[Image, Image]:
    """x and y in the source of every pixel of a grid that is displaced by `field` (2, rows, columns)."""
    _, rows, columns = field.shape
    x = field[0] + np.arange(columns, dtype=np.float32)
    y = field[1] + np.arange(rows, dtype=np.float32)[:, None]
    a, b = np.float32(matrix)
    return a[0] * x + a[1] * y + a[2], b[0] * x + b[1] * y + b[2]


def change_gray(image: Image, recipe: Recipe, rng: np.random.Generator) -> Image:
    """Random gamma, then Gaussian noise, on gray in [0, 1], any shape; the result, float32, is clipped to [0, 1]."""
    gamma, deviation = rng.uniform(*recipe.gamma), rng.uniform(*recipe.noise)
    changed: Image = np.power(image, np.float32(gamma))
    if deviation > 0:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        noise *= np.float32(deviation)
        changed += noise
    np.clip(changed, 0, 1, out=changed)
    return changed

"""The paper's training augmentation after the look-up table: geometry, gamma, noise (section 2.2.2, Table 3).

The paper flips, rotates, deforms and crops in separate steps. Here the steps are composed, so the image is interpolated
only once, linearly, and its labels once, by the nearest pixel. Look-up tables are applied before (`lut_jitter.py`), and
`patches.py` reads the part of an image that a patch needs.

The *frame* is the grid of the transformed image, with the shape of the image. A patch is cut out of the frame and may
reach beyond it. Shapes are (rows, columns). Points and matrices are (x, y) = (column, row) with pixel centres at
integers, as in OpenCV. Every function draws from the generator that it is given, in a fixed order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np

from maseg_nnunet.arrays import FloatArray, Image, Labels, Mask, Shape

PAPER_SPACING: Final = 0.4
"""Pixel spacing of the paper in mm: lengths in its Table 3 are in pixels of this size."""

NEGLIGIBLE: Final = 0.05
"""A displacement field is not computed if all its displacements are below this many pixels."""

_NODES_PER_SIGMA: Final = 6


@dataclass(frozen=True)
class Recipe:
    """Ranges and probabilities of the augmentation. The defaults are the paper's (section 2.2.2, Table 3).

    Attributes:
        lut_jitter: Largest change of a look-up table's center and width, each as a share of itself.
        flip: Probability of left-right mirroring. Images are never turned upside down.
        rotation: Largest angle of rotation in degrees, in both directions.
        alpha: Factor of the random displacement field of the elastic deformation (Simard et al.), pixels.
        sigma: Standard deviation in pixels of the Gaussian that smooths this field.
        alpha_affine: Largest shift of each of three corners in x and in y, in pixels: the affine part of the elastic
            deformation.
        outside: Share of each side of a patch that may be outside the frame.
        gamma: Range of the exponent of gray.
        noise: Range of the standard deviation of the Gaussian noise, as a share of the range of gray. In Table 3 it is
            always 5 %.
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
        """Convert the lengths, which are for pixels of `PAPER_SPACING`, to pixels of another size.

        Args:
            spacing: Size of a pixel in mm.

        Returns:
            The recipe with the same `alpha`, `sigma` and `alpha_affine` in mm.
        """
        factor = PAPER_SPACING / spacing
        return replace(
            self, alpha=self.alpha * factor, sigma=self.sigma * factor, alpha_affine=self.alpha_affine * factor
        )


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a patch gets its pixels from.

    Attributes:
        matrix: Affine transform from the frame to the image, (3, 3), for points (x, y, 1) in pixels.
        frame: Shape of the frame and of the image, (rows, columns).
        corner: (row, column) of the patch's first pixel in the frame; may be negative.
        patch: Shape of the patch, (rows, columns).
        field: Displacement of each pixel of the patch in x and in y, float32 (2, rows, columns) in pixels, added before
            `matrix` is applied. None if there is none.
    """

    matrix: FloatArray
    frame: Shape
    corner: tuple[int, int]
    patch: Shape
    field: Image | None = None

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the patch that are in the frame; may be empty."""
        rows, columns = (
            slice(max(0, -start), max(0, min(size, whole - start)))
            for start, size, whole in zip(self.corner, self.patch, self.frame, strict=True)
        )
        return rows, columns


def place(
    frame: Shape, patch: Shape, recipe: Recipe, rng: np.random.Generator, point: tuple[int, int] | None = None
) -> Placement:
    """Draw flip, rotation, elastic deformation and crop.

    Args:
        frame: Shape of the image, (rows, columns).
        patch: Shape of the patch, (rows, columns).
        recipe: Ranges and probabilities; lengths in pixels of the image.
        rng: Generator to draw from.
        point: (row, column) of a pixel of the image that the patch should contain, such as one of the muscle.

    Returns:
        Where the patch gets its pixels from.
    """
    matrix = draw_affine(frame, recipe, rng)
    if point is not None:
        x, y, _ = np.linalg.solve(matrix, [point[1], point[0], 1.0])
        point = round(y), round(x)
    corner = draw_corner(frame, patch, recipe.outside, rng, point)
    return Placement(matrix, frame, corner, patch, draw_displacement(patch, recipe.alpha, recipe.sigma, rng))


def draw_affine(frame: Shape, recipe: Recipe, rng: np.random.Generator) -> FloatArray:
    """Draw flip, rotation and the affine part of the elastic deformation.

    Flip and rotation are about the image's centre. The affine part moves three corners of a centred square by up to
    `alpha_affine` pixels in x and in y, as common implementations of Simard's deformation do. The half-side of the
    square is min(rows, columns) // 3. No corner moves by more than half of it, because a small image might fold over.

    Args:
        frame: Shape of the image, (rows, columns).
        recipe: Ranges and probabilities; lengths in pixels of the image.
        rng: Generator to draw from.

    Returns:
        The matrix from the frame to the image, float64 (3, 3), for points (x, y, 1) in pixels.
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
    """Draw where the patch is in the frame, uniformly among the allowed places.

    Args:
        frame: Shape of the frame, (rows, columns).
        patch: Shape of the patch, (rows, columns).
        outside: Largest share of each side of the patch beyond an edge of the frame. If the frame is too small for
            that, the whole frame is in the patch.
        rng: Generator to draw from.
        point: (row, column) in the frame of a pixel that the patch contains if an allowed place does.

    Returns:
        (row, column) in the frame of the patch's first pixel; may be negative.
    """
    start = []
    for axis in range(2):
        size, whole = patch[axis], frame[axis]
        margin = int(outside * size)
        low, high = -margin, whole - size + margin
        if low > high:
            low, high = whole - size, 0
        if point is not None:
            # Clipped to the allowed places, because the affine part can move a point out of the frame.
            low, high = (int(np.clip(value, low, high)) for value in (point[axis] - size + 1, point[axis]))
        start.append(int(rng.integers(low, high, endpoint=True)))
    return start[0], start[1]


def displacement_bound(alpha: float, sigma: float) -> float:
    """A bound of the displacements in pixels: six standard deviations, or `alpha` if that is less.

    The field is uniform noise in (-1, 1), smoothed by a Gaussian of `sigma` pixels and multiplied by `alpha` (Simard).
    Its standard deviation is then alpha / sqrt(3) / (2 sqrt(pi) sigma).
    """
    return min(alpha, 6 * alpha / (2 * math.sqrt(3 * math.pi) * max(sigma, 1e-6)))


def draw_displacement(patch: Shape, alpha: float, sigma: float, rng: np.random.Generator) -> Image | None:
    """Draw Simard's displacement field for a patch.

    The paper's alpha and sigma give displacements far below `NEGLIGIBLE`, so nothing is computed. Otherwise the noise
    is drawn and smoothed on a grid of sigma / 6 pixels and interpolated, which gives a field with the same moments.

    Args:
        patch: Shape of the patch, (rows, columns).
        alpha: Factor of the smoothed noise, pixels.
        sigma: Standard deviation of the smoothing Gaussian, pixels.
        rng: Generator to draw from.

    Returns:
        Displacements in x and in y, float32 (2, rows, columns) in pixels, or None if they are negligible.
    """
    if displacement_bound(alpha, sigma) < NEGLIGIBLE:
        return None
    step = max(1, int(sigma / _NODES_PER_SIGMA))
    margin = int(np.ceil(4 * sigma / step)) + 1
    rows, columns = (int(np.ceil(size / step)) + 2 for size in patch)
    shape = 2, rows + 2 * margin, columns + 2 * margin
    # A node is the mean of step x step independent uniform values, which is almost Gaussian.
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
    """Rows and columns of the image that the patch is sampled from; empty slices if it is beyond the image."""
    rows, columns = placement.inside
    x = np.array([columns.start, columns.stop - 1], dtype=np.float64) + placement.corner[1]
    y = np.array([rows.start, rows.stop - 1], dtype=np.float64) + placement.corner[0]
    corners = placement.matrix[:2] @ np.array([x[[0, 0, 1, 1]], y[[0, 1, 0, 1]], np.ones(4)])
    # One pixel for the linear interpolation, and the displacements of the field.
    reach = 1 + (
        0 if placement.field is None else np.abs(placement.matrix[:2, :2]).sum() * np.abs(placement.field).max()
    )
    box = []
    for values, whole in ((corners[1], placement.frame[0]), (corners[0], placement.frame[1])):
        start = int(np.clip(np.floor(values.min() - reach), 0, whole))
        box.append(slice(start, int(np.clip(np.ceil(values.max() + reach) + 1, start, whole))))
    return box[0], box[1]


def sample(image: Image, labels: Labels, placement: Placement, box: tuple[slice, slice]) -> tuple[Image, Mask]:
    """Interpolate a patch: its image linearly, its labels by the nearest pixel.

    Args:
        image: The part `box` of the whole image, float32.
        labels: The same part of its labels. `IGNORE`, outside a cropped case, becomes background.
        placement: Where the patch gets its pixels from.
        box: Rows and columns of the whole image, from `source_box`.

    Returns:
        Image, float32, and labels, uint8, both of shape `placement.patch`. Both are 0 outside the frame and outside
        the image.
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
    """x and y in the source of every pixel of a grid after displacement by `field` (2, rows, columns)."""
    _, rows, columns = field.shape
    x = field[0] + np.arange(columns, dtype=np.float32)
    y = field[1] + np.arange(rows, dtype=np.float32)[:, None]
    a, b = np.float32(matrix)
    return a[0] * x + a[1] * y + a[2], b[0] * x + b[1] * y + b[2]


def change_gray(image: Image, recipe: Recipe, rng: np.random.Generator) -> Image:
    """Apply random gamma, then Gaussian noise.

    Args:
        image: Gray in [0, 1], float32, any shape.
        recipe: The ranges `gamma` and `noise`.
        rng: Generator to draw from.

    Returns:
        Gray clipped to [0, 1], float32, same shape.
    """
    gamma, deviation = rng.uniform(*recipe.gamma), rng.uniform(*recipe.noise)
    changed: Image = np.power(image, np.float32(gamma))
    if deviation > 0:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        noise *= np.float32(deviation)
        changed += noise
    np.clip(changed, 0, 1, out=changed)
    return changed

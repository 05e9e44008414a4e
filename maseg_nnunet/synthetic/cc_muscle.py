"""Draw a pectoral muscle into a CC view without one: a crescent at the chest wall, in the image and in its labels.

For training: so few real CC views have one that a network trained on real images alone does not find it.
"""

from __future__ import annotations

import cv2
import numpy as np

from maseg_nnunet.arrays import Image, Labels, Region
from maseg_nnunet.chest_wall import chest_wall_is_left
from maseg_nnunet.labels import Label
from maseg_nnunet.synthetic.texture import FIELD_MM, curve


def with_cc_muscle(units: Image, labels: Labels, rng: np.random.Generator) -> tuple[Image, Labels]:
    """Draw a muscle into a whole image.

    Sizes are shares of the breast's height: the muscle's height is 0.12 to 0.7, its width 0.008 to 0.08, and its middle
    is at 0.25 to 0.8 from above. It is 0.025 to 0.13 brighter than the tissue that it borders on. These ranges are half
    as wide again as those of the real crescents in INbreast.

    Args:
        units: VOI units, float32 (rows, columns).
        labels: Labels, (rows, columns).
        rng: Generator to draw from.

    Returns:
        Image and labels with a muscle, of the same shapes and dtypes. The arguments themselves if the image has a
        muscle or no breast.
    """
    breast = labels == Label.BREAST
    rows = np.flatnonzero(breast.any(axis=1))
    if len(rows) < 2 or (labels == Label.PECTORAL_MUSCLE).any():
        return units, labels
    if not chest_wall_is_left(breast):
        drawn = with_cc_muscle(units[:, ::-1], labels[:, ::-1], rng)
        return np.ascontiguousarray(drawn[0][:, ::-1]), np.ascontiguousarray(drawn[1][:, ::-1])
    top, height = float(rows[0]), float(rows[-1] - rows[0])
    y = np.arange(len(units), dtype=np.float32) + np.float32(0.5)
    half = rng.uniform(0.06, 0.35) * height
    width = min(rng.uniform(0.008, 0.08) * height, 0.25 * half)
    away = np.abs(y - top - rng.uniform(0.25, 0.8) * height) / half
    border = width * (
        1 - away ** rng.uniform(1.5, 3.0) + 0.06 * curve(rng, y * np.float32(FIELD_MM / len(y)), FIELD_MM / 15)
    )
    wall = np.where(breast.any(axis=1), breast.argmax(axis=1), 0)
    # Depth in the muscle in pixels, negative outside it.
    depth = (border + wall)[:, None] - np.arange(units.shape[1], dtype=np.float32) - 0.5
    depth[:, :] = np.where(away[:, None] < 1, depth, np.minimum(depth, -1))
    return _blended(units, breast, depth, height, width, rng), _labelled(labels, breast & (depth > 0))


def _blended(
    units: Image, breast: Region, depth: Image, height: float, width: float, rng: np.random.Generator
) -> Image:
    """Make the muscle smoother, and brighter the deeper, and the fat in front of it a little darker or brighter."""
    cover = np.clip(depth / rng.uniform(0.8, 2.5) + 0.5, 0, 1) * breast
    smooth = cv2.GaussianBlur(np.ascontiguousarray(units), (0, 0), 0.012 * height)
    gain = rng.uniform(0.025, 0.13) * (0.8 + 0.4 * np.clip(depth / width, 0, 1))
    muscle = units + rng.uniform(0.2, 0.7) * (smooth - units) + gain
    fat = rng.uniform(-0.02, 0.03) * np.exp(-((depth / (0.02 * height)) ** 2)) * breast * (depth > -0.06 * height)
    return np.asarray(units - fat * (1 - cover) + cover * (muscle - units), dtype=np.float32)


def _labelled(labels: Labels, muscle: Region) -> Labels:
    drawn: Labels = labels.copy()
    drawn[muscle] = Label.PECTORAL_MUSCLE
    return drawn

"""Change the brightness of the breast's rim and of the muscle, in which film, digital images and makers differ.

A compressed breast is thin near its skin line. On film and in raw images it fades there into the background. Processed
digital images are equalized: as bright at the skin as inside. The muscle is white on film, but hardly brighter than
gland in many digital images. A network that has seen only one kind misses the skin or the muscle in the other. For
training: by the image's labels, rims fade or brighten at random, and muscles change.

Images are (rows, columns) float32 in VOI units, labels are integers of the same shape, lengths are in pixels.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from maseg_nnunet.arrays import Image, Labels, Region
from maseg_nnunet.chest_wall import beyond_chest_wall
from maseg_nnunet.labels import Label

STRONGEST: Final = 4.0
"""Largest factor by which equalizing brightens a dark rim. A larger one would make film noise a pattern."""


def change_rim(units: Image, labels: Labels, rng: np.random.Generator) -> Image:
    """Change the mean gray of the breast's rim along a random curve from its inner edge to the skin.

    Half of the rims fade, as on film: at the skin to between all and a twentieth of the gray inside, mostly to little.
    A rim that is darker already is unchanged. The other half are equalized: at the skin to between once and twice the
    gray inside, and at most `STRONGEST` times as bright as before. A rim that is brighter already is unchanged.

    Args:
        units: VOI units, float32 (rows, columns).
        labels: Labels, (rows, columns).
        rng: Generator to draw from. It draws the width of the rim too, 2 to 13 % of the rows.

    Returns:
        float32 (rows, columns). The argument itself if no skin is visible, or no breast below the rim.
    """
    depth = depth_below_skin(labels > Label.BACKGROUND)
    width = max(2, round(rng.uniform(0.02, 0.13) * len(units)))
    fades, power = rng.random() < 0.5, rng.uniform(0.7, 2.5)
    change = -0.95 * rng.uniform() ** 0.25 if fades else rng.uniform()
    in_rim, inside = (depth > 0) & (depth < width), (depth >= width) & (depth < 2 * width)
    if not in_rim.any() or not inside.any():
        return units
    seen = np.clip(units, 0, 1)
    level = float(seen[inside].mean())
    bins = depth[in_rim].astype(np.intp)
    profile = np.bincount(bins, seen[in_rim], width) / np.maximum(np.bincount(bins, minlength=width), 1)
    middle = np.arange(width) + 0.5
    wanted = level * (1 + change * (1 - middle / width) ** power)
    gains = np.clip(wanted / np.maximum(profile, 1e-3), *((0, 1) if fades else (1, STRONGEST)))
    gain = np.interp(depth, np.append(middle, width + 0.5), np.append(gains, 1.0))
    return np.asarray(np.where(depth > 0, units * gain, units), dtype=np.float32)


def change_muscle(units: Image, labels: Labels, rng: np.random.Generator) -> Image:
    """Make the muscle on average 0.03 to 0.5 brighter than the breast beside it.

    Args:
        units: VOI units, float32 (rows, columns).
        labels: Labels, (rows, columns).
        rng: Generator to draw from.

    Returns:
        float32 (rows, columns). The argument itself if there is no muscle, or no breast beside it.
    """
    muscle = (labels == Label.PECTORAL_MUSCLE).astype(np.uint8)
    reach = max(3, len(units) // 20)
    near = cv2.dilate(muscle, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
    beside = near & (labels == Label.BREAST)
    if not muscle.any() or not beside.any():
        return units
    shift = rng.uniform(0.03, 0.5) - float(units[muscle > 0].mean() - units[beside].mean())
    cover = cv2.GaussianBlur(muscle.astype(np.float32), (0, 0), rng.uniform(0.7, 2.0))
    return np.asarray(units + shift * cover * (labels > Label.BACKGROUND), dtype=np.float32)


def depth_below_skin(breast: Region) -> Image:
    """Distance of each pixel of the breast from the skin line. Chest wall and edges of the image are not skin.

    Args:
        breast: Breast and pectoral muscle, bool (rows, columns).

    Returns:
        Pixels, float32 (rows, columns): 0.5 at the skin line, 0 outside the breast.
    """
    if not breast.any():
        return np.zeros(breast.shape, np.float32)
    filled = breast | (beyond_chest_wall(breast) & breast.any(axis=1, keepdims=True))
    reach = max(1, max(breast.shape) // 4)
    padded = cv2.copyMakeBorder(filled.astype(np.uint8), reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_5)[reach:-reach, reach:-reach]
    return np.asarray(np.where(breast, distance - 0.5, 0), dtype=np.float32)

"""The paper's first mask (section 2.1.1): Otsu's threshold for the breast, and again inside it for the muscle.

It is a starting point for a person with ITK-SNAP, not a segmentation to rely on. Files are `annotate.py`.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import Gray, Mask, Region
from maseg_nnunet.chest_wall import chest_wall_is_left, extent
from maseg_nnunet.labels import Label
from maseg_nnunet.mammogram import Intent, Mammogram
from maseg_nnunet.resample import image_to_target, mask_to_source

SPACING: Final = (0.4, 0.4)
"""(row, column) in mm of the grid for thresholds and cleaning, the paper's."""

_OPENING: Final = 5
"""Diameter in pixels. The opening cuts thin bridges from breast to labels and from muscle to glandular tissue."""


def initial_mask(mammogram: Mammogram) -> Mask:
    """Segment a mammogram by Otsu's threshold.

    Args:
        mammogram: The image. Only MLO-like views get a muscle.

    Returns:
        The mask on the source's grid, as stored: uint8 (rows, columns) of `Label` values.
    """
    upright = mammogram.upright()
    gray = _gray(upright)
    breast = breast_region(gray)
    mask = np.where(breast, np.uint8(Label.BREAST), np.uint8(Label.BACKGROUND))
    if mammogram.view.is_mlo_like:
        mask[muscle_region(gray, breast)] = Label.PECTORAL_MUSCLE
    mask = mask_to_source(mask, upright.shape, upright.spacing, SPACING)
    return np.ascontiguousarray(np.rot90(mask, -mammogram.quarter_turns))


def breast_region(gray: Gray) -> Region:
    """The largest bright component after Otsu's threshold, with its holes filled.

    Args:
        gray: uint8 (rows, columns), the breast brighter than air.

    Returns:
        bool (rows, columns).
    """
    threshold, _ = cv2.threshold(gray, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    opened = cv2.morphologyEx((gray > threshold).astype(np.uint8), cv2.MORPH_OPEN, _disc())
    return _filled(_largest(np.asarray(opened, dtype=np.uint8)))


def muscle_region(gray: Gray, breast: Region) -> Region:
    """The bright component in the upper corner at the chest wall, after Otsu's threshold inside the breast.

    Args:
        gray: uint8 (rows, columns), the image upright.
        breast: bool (rows, columns), the breast with its muscle.

    Returns:
        bool (rows, columns), all False if nothing bright is in the corner.
    """
    inside = gray[breast]
    if inside.size == 0:
        return np.zeros_like(breast)
    threshold, _ = cv2.threshold(inside.reshape(1, -1), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    bright = ((gray > threshold) & breast).astype(np.uint8)
    count, labelled = cv2.connectedComponents(cv2.morphologyEx(bright, cv2.MORPH_OPEN, _disc()))
    # The corner of the breast, not of the image: films have black margins.
    rows, columns = extent(breast)
    corner = labelled[rows, columns] if chest_wall_is_left(breast) else labelled[rows, columns][:, ::-1]
    near = corner[: max(corner.shape[0] // 10, 1), : max(corner.shape[1] // 10, 1)]
    sizes = np.bincount(near.ravel(), minlength=count)
    sizes[0] = 0
    found = int(sizes.argmax())
    if sizes[found] == 0:
        return np.zeros_like(breast)
    return _filled(labelled == found) & breast


def _gray(mammogram: Mammogram) -> Gray:
    """The displayed image at 0.4 mm, slightly smoothed, the breast brighter than air: uint8 (rows, columns)."""
    stored = image_to_target(mammogram.pixels, mammogram.spacing, SPACING)
    shown = mammogram.luts.display(stored)
    if mammogram.intent is Intent.RAW and not mammogram.luts.inverted:
        shown = 1.0 - shown  # a raw image is dark where tissue absorbs
    gray = np.asarray(np.round(shown * 255), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(gray, (5, 5), 0), dtype=np.uint8)


def _disc() -> npt.NDArray[Any]:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_OPENING, _OPENING))


def _largest(binary: Mask) -> Region:
    count, labelled, statistics, _ = cv2.connectedComponentsWithStats(binary)
    if count < 2:
        return np.zeros(binary.shape, bool)
    return np.asarray(labelled == 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax()))


def _filled(region: Region) -> Region:
    """`region` with its holes filled. A gap that touches the image's edge is not a hole."""
    outside = np.pad((~region).astype(np.uint8), 1, constant_values=1)
    cv2.floodFill(outside, None, (0, 0), 2)
    return np.asarray(region | (outside[1:-1, 1:-1] == 1))

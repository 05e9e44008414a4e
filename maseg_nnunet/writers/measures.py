"""Measure a mask for one row of statistics.csv. Not for comparing a mask with a reference (`evaluation/`).

Areas and lengths are those of the projection at the given spacing. If that is the spacing at the detector (contact
views, flagged), they are somewhat larger than in the plane of the breast.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import Enum
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import FloatArray, Mask, Spacing
from maseg_nnunet.labels import Label
from maseg_nnunet.mammogram import View

SMOOTHING_MM: Final = 1.5
"""Length in mm over which an outline is averaged, so that the staircase of pixels does not add to its length."""


BREAST_CM2: Final = (10.0, 900.0)
"""Areas of a breast in cm² beyond which a mask is implausible."""

TOUCHES: Final = 0.1
"""Share of an image's side that a mask must cover to touch it. A nipple or a fold covers less."""


class MaskFlag(str, Enum):
    """What is unusual about a mask; shown after the flags of the image."""

    NO_BREAST = "no breast found"
    NO_PECTORAL_IN_MLO = "no pectoral muscle found in an MLO-like view"
    IMPLAUSIBLE = "implausible mask: look at the preview"


@dataclass(frozen=True)
class ImageStatistics:
    """Measures of one mask: the columns of statistics.csv.

    Attributes:
        breast_area_cm2: Area of the breast in cm², without the pectoral muscle.
        pectoral_area_cm2: Area of the pectoral muscle in cm².
        pectoral_share: Area of the muscle divided by the area of breast and muscle, from 0 to 1; 0 if both are missing.
        breast_perimeter_mm: Length in mm of the breast's closed outline, including its parts along the muscle and along
            the border of the image.
        pectoral_found: Whether the mask has any pectoral muscle; "yes" or "no" in the file.
        flags: What a user should know about the image and then about the mask, as text; joined by "; " in the file.
    """

    breast_area_cm2: float
    pectoral_area_cm2: float
    pectoral_share: float
    breast_perimeter_mm: float
    pectoral_found: bool
    flags: tuple[str, ...] = ()

    def cells(self) -> list[str]:
        """The values as statistics.csv shows them, in the order of STATISTICS_COLUMNS."""
        return [
            f"{self.breast_area_cm2:.2f}",
            f"{self.pectoral_area_cm2:.2f}",
            f"{self.pectoral_share:.4f}",
            f"{self.breast_perimeter_mm:.1f}",
            "yes" if self.pectoral_found else "no",
            "; ".join(self.flags),
        ]


STATISTICS_COLUMNS: Final = tuple(field.name for field in fields(ImageStatistics))
"""The columns of statistics.csv after the image's name, in order."""


def image_statistics(
    mask: Mask,
    spacing: Spacing,
    flags: Iterable[Enum | str] = (),
    view: View = View.UNKNOWN,
) -> ImageStatistics:
    """Measure a mask.

    Args:
        mask: Values of `Label`, shape (rows, columns), uint8.
        spacing: (row, column) in mm.
        flags: The image's flags, as members of `Flag` or as text.
        view: The image's view. An MLO-like view without muscle is flagged.
    """
    breast_area, muscle_area = _areas(mask, spacing)
    whole = breast_area + muscle_area
    return ImageStatistics(
        breast_area_cm2=breast_area,
        pectoral_area_cm2=muscle_area,
        pectoral_share=muscle_area / whole if whole else 0.0,
        breast_perimeter_mm=perimeter(mask == Label.BREAST, spacing),
        pectoral_found=muscle_area > 0,
        flags=tuple(
            flag.value if isinstance(flag, Enum) else flag for flag in (*flags, *mask_flags(mask, spacing, view))
        ),
    )


def mask_flags(mask: Mask, spacing: Spacing, view: View = View.UNKNOWN) -> tuple[MaskFlag, ...]:
    """Find out what is unusual about a mask.

    A mask is implausible if its muscle is larger than its breast, its breast is smaller or larger than `BREAST_CM2`, or
    it touches the left, the right and another side of the image.

    Args:
        mask: Values of `Label`, shape (rows, columns), uint8.
        spacing: (row, column) in mm.
        view: The image's view.
    """
    breast_area, muscle_area = _areas(mask, spacing)
    edges = (mask[:, 0], mask[:, -1], mask[0], mask[-1])
    left, right, top, bottom = ((edge != Label.BACKGROUND).mean() > TOUCHES for edge in edges)
    is_implausible = (
        muscle_area > breast_area
        or (breast_area > 0 and not BREAST_CM2[0] <= breast_area <= BREAST_CM2[1])
        or (left and right and (top or bottom))
    )
    conditions = {
        MaskFlag.NO_BREAST: not breast_area,
        MaskFlag.NO_PECTORAL_IN_MLO: breast_area and view.is_mlo_like and not muscle_area,
        MaskFlag.IMPLAUSIBLE: is_implausible,
    }
    return tuple(flag for flag, holds in conditions.items() if holds)


def _areas(mask: Mask, spacing: Spacing) -> tuple[float, float]:
    """Areas of breast and pectoral muscle in cm²."""
    pixel_cm2 = spacing[0] * spacing[1] / 100
    breast, muscle = (np.count_nonzero(mask == label) * pixel_cm2 for label in (Label.BREAST, Label.PECTORAL_MUSCLE))
    return float(breast), float(muscle)


def perimeter(region: npt.NDArray[np.bool_], spacing: Spacing) -> float:
    """Measure the outer outlines of a region. Holes do not count.

    The outline through the centres of the border pixels is averaged over SMOOTHING_MM. It runs half a pixel inside the
    region, which Steiner's formula corrects: a parallel curve at distance d is longer by 2πd.

    Args:
        region: Shape (rows, columns), bool.
        spacing: (row, column) in mm.

    Returns:
        Length in mm; 0 if the region is empty.
    """
    outlines, _ = cv2.findContours(region.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    window = SMOOTHING_MM / math.sqrt(spacing[0] * spacing[1])
    total = 0.0
    for outline in outlines:
        points = outline[:, 0, ::-1] * np.asarray(spacing)
        points = _averaged(points, min(int(window), len(points) // 8))
        total += float(np.linalg.norm(np.diff(points, axis=0, append=points[:1]), axis=1).sum())
        total += math.pi * math.sqrt(spacing[0] * spacing[1])
    return total


def _averaged(points: FloatArray, window: int) -> FloatArray:
    """Running mean of a closed curve, shape (n, 2), over `window` points."""
    if window < 2:
        return points
    sums = np.cumsum(np.concatenate([np.zeros((1, 2)), points, points[: window - 1]]), axis=0)
    return np.asarray((sums[window:] - sums[:-window]) / window)

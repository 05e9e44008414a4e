"""What a mask measures: one row of statistics.csv. Not how well a mask agrees with a reference (`evaluation/`).

Areas and lengths are those of the projection at the spacing given. Where that is the detector's spacing (contact
views, flagged), an area is some 9 % larger than in the breast's plane, a length some 4 %.
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
"""Length over which an outline is averaged, so that the staircase of pixels does not count as length."""


class MaskFlag(str, Enum):
    """What is odd about a mask; shown beside the image's own flags."""

    NO_BREAST = "no breast found"
    NO_PECTORAL_IN_MLO = "no pectoral muscle found in an MLO-like view"


@dataclass(frozen=True)
class ImageStatistics:
    """Measures of one mask.

    `breast_area_cm2` leaves the muscle out. `pectoral_share` is muscle / (breast + muscle), 0 where both are absent.
    `breast_perimeter_mm` is the length of the breast's closed outline, along the image's border and the muscle too.
    `flags`: the image's, then the mask's, as text.
    """

    breast_area_cm2: float
    pectoral_area_cm2: float
    pectoral_share: float
    breast_perimeter_mm: float
    pectoral_found: bool
    flags: tuple[str, ...] = ()

    def cells(self) -> list[str]:
        """The values in the order of COLUMNS, as statistics.csv shows them; flags are joined by "; "."""
        return [
            f"{self.breast_area_cm2:.2f}",
            f"{self.pectoral_area_cm2:.2f}",
            f"{self.pectoral_share:.4f}",
            f"{self.breast_perimeter_mm:.1f}",
            "yes" if self.pectoral_found else "no",
            "; ".join(self.flags),
        ]


STATISTICS_COLUMNS: Final = tuple(field.name for field in fields(ImageStatistics))


def image_statistics(
    mask: Mask,
    spacing: Spacing,
    flags: Iterable[Enum | str] = (),
    view: View = View.UNKNOWN,
) -> ImageStatistics:
    """Measure `mask`, labels (rows, columns), with `spacing` (row, column) in mm.

    `flags` (members, or their text) and `view` are the image's: an MLO-like view without muscle is worth a flag.
    """
    breast = mask == Label.BREAST
    pixel_cm2 = spacing[0] * spacing[1] / 100
    breast_area = int(np.count_nonzero(breast)) * pixel_cm2
    muscle_area = int(np.count_nonzero(mask == Label.PECTORAL_MUSCLE)) * pixel_cm2
    whole = breast_area + muscle_area
    of_mask = []
    if not breast_area:
        of_mask.append(MaskFlag.NO_BREAST)
    elif view.is_mlo_like and not muscle_area:
        of_mask.append(MaskFlag.NO_PECTORAL_IN_MLO)
    return ImageStatistics(
        breast_area_cm2=breast_area,
        pectoral_area_cm2=muscle_area,
        pectoral_share=muscle_area / whole if whole else 0.0,
        breast_perimeter_mm=perimeter(breast, spacing),
        pectoral_found=muscle_area > 0,
        flags=tuple(flag.value if isinstance(flag, Enum) else flag for flag in (*flags, *of_mask)),
    )


def perimeter(region: npt.NDArray[np.bool_], spacing: Spacing) -> float:
    """Length in mm of the outer outlines of `region` (rows, columns); holes do not count.

    The outline through the centres of the border pixels is averaged over SMOOTHING_MM; that it runs half a pixel
    inside is made up for by Steiner's formula (a parallel curve at distance d is longer by 2πd).
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

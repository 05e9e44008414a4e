"""Scores of one predicted mask against one reference mask: Dice, false positives and negatives, boundary distances.

Dice is Eq. 4 of Verboom et al., J. Med. Imaging 11(1) 014001 (2024). The overall Dice and the false positives and
negatives are defined in its section 2.3.1. Boundary distances are not in the paper. Folders of masks are scored in
`scoring.py`, averages are in `tables.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from maseg_nnunet.arrays import Mask, Region, Spacing
from maseg_nnunet.labels import Label

LARGE_FALSE_POSITIVE: Final = 0.01
"""A false positive muscle is large if it exceeds this share of the reference's breast area (section 3.1)."""


@dataclass(frozen=True)
class CaseScore:
    """Scores of one predicted mask.

    Attributes:
        dice_breast: Dice of the breast; NaN if the reference has no breast.
        dice_pectoral: Dice of the pectoral muscle; NaN if the reference has no muscle.
        dice_overall: Mean of both, weighted by the pixel counts in the reference; NaN if the reference is empty.
        false_positive: Muscle was predicted, but the reference has none.
        false_negative: No muscle was predicted, but the reference has one.
        large_false_positive: A false positive larger than 1% of the reference's breast.
        hd95_breast: 95th percentile of the Hausdorff distance of the breast in mm, see `boundary_distances`.
        hd95_pectoral: Likewise, of the pectoral muscle.
        msd_breast: Mean surface distance of the breast in mm, see `boundary_distances`.
        msd_pectoral: Likewise, of the pectoral muscle.
        reference_breast_area: Area of the breast in the reference in cm², without the muscle.
        reference_pectoral_area: Area of the pectoral muscle in the reference in cm².
        predicted_breast_area: Area of the breast in the prediction in cm², without the muscle.
        predicted_pectoral_area: Area of the pectoral muscle in the prediction in cm².
    """

    dice_breast: float
    dice_pectoral: float
    dice_overall: float
    false_positive: bool
    false_negative: bool
    large_false_positive: bool
    hd95_breast: float
    hd95_pectoral: float
    msd_breast: float
    msd_pectoral: float
    reference_breast_area: float
    reference_pectoral_area: float
    predicted_breast_area: float
    predicted_pectoral_area: float


def score_case(prediction: Mask, reference: Mask, spacing: Spacing) -> CaseScore:
    """Score a predicted mask against its reference.

    Args:
        prediction: Values of `Label`, shape (rows, columns), uint8.
        reference: Values of `Label` on the same grid.
        spacing: Distance between rows and between columns in mm.

    Raises:
        ValueError: The shapes differ.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"prediction of shape {prediction.shape}, reference of shape {reference.shape}")
    classes = breast, muscle = Label.BREAST, Label.PECTORAL_MUSCLE
    predicted, expected = ({label: mask == label for label in classes} for mask in (prediction, reference))
    found = {label: int(np.count_nonzero(predicted[label])) for label in classes}
    present = {label: int(np.count_nonzero(expected[label])) for label in classes}
    dice = {label: _dice(predicted[label], expected[label], found[label], present[label]) for label in classes}
    hd95, msd = zip(*(boundary_distances(predicted[label], expected[label], spacing) for label in classes), strict=True)
    false_positive = found[muscle] > 0 and present[muscle] == 0
    square_cm = spacing[0] * spacing[1] / 100
    return CaseScore(
        dice_breast=dice[breast],
        dice_pectoral=dice[muscle],
        dice_overall=_overall(dice, present),
        false_positive=false_positive,
        false_negative=found[muscle] == 0 and present[muscle] > 0,
        large_false_positive=false_positive and found[muscle] > LARGE_FALSE_POSITIVE * present[breast],
        hd95_breast=hd95[0],
        hd95_pectoral=hd95[1],
        msd_breast=msd[0],
        msd_pectoral=msd[1],
        reference_breast_area=present[breast] * square_cm,
        reference_pectoral_area=present[muscle] * square_cm,
        predicted_breast_area=found[breast] * square_cm,
        predicted_pectoral_area=found[muscle] * square_cm,
    )


def _dice(predicted: Region, expected: Region, found: int, present: int) -> float:
    """Eq. 4, given the pixel counts of both regions; NaN if the reference does not have the class."""
    if present == 0:
        return math.nan
    return 2 * int(np.count_nonzero(predicted & expected)) / (found + present)


def _overall(dice: dict[Label, float], present: dict[Label, int]) -> float:
    """Mean Dice of the classes, weighted by their pixel counts in the reference (section 2.3.1)."""
    total = sum(present.values())
    if total == 0:
        return math.nan
    return sum(dice[label] * count for label, count in present.items() if count) / total


def boundary_distances(predicted: Region, expected: Region, spacing: Spacing) -> tuple[float, float]:
    """Distances between the boundaries of two regions.

    A boundary pixel belongs to the region and has one of its four neighbours outside. Everything beyond the image's
    edge is outside, because the breast always touches that edge at the chest wall. Distances are measured between
    pixel centres, from each boundary pixel to the nearest boundary pixel of the other region.

    Args:
        predicted: Predicted region, shape (rows, columns).
        expected: Reference region of the same shape.
        spacing: Distance between rows and between columns in mm.

    Returns:
        (95th percentile of the Hausdorff distance, mean surface distance) in mm. The first is the larger of the 95th
        percentiles of the two directions, interpolated linearly between ranks. The second is the mean over the
        boundary pixels of both regions. If one region is empty, both are the diagonal of the image; if both are empty,
        both are 0.
    """
    if not predicted.any() or not expected.any():
        if predicted.any() == expected.any():
            return 0.0, 0.0
        diagonal = math.hypot(predicted.shape[0] * spacing[0], predicted.shape[1] * spacing[1])
        return diagonal, diagonal
    own, other = _boundary(predicted) * spacing, _boundary(expected) * spacing
    there, back = np.asarray(KDTree(other).query(own)[0]), np.asarray(KDTree(own).query(other)[0])
    hausdorff = max(float(np.percentile(there, 95)), float(np.percentile(back, 95)))
    return hausdorff, float((there.sum() + back.sum()) / (len(there) + len(back)))


def _boundary(mask: Region) -> npt.NDArray[np.intp]:
    """(row, column) of each of the n boundary pixels, shape (n, 2)."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~inner)

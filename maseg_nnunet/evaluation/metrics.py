"""Scores of one predicted mask against one reference mask. Not reading (`scoring.py`), not averaging (`tables.py`).

Dice is Eq. 4 of Verboom et al., J. Med. Imaging 11(1) 014001 (2024); the overall Dice and the false positives and
negatives are of its section 2.3.1. Boundary distances are not in the paper.
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
"""Share of the reference's breast area above which a false positive muscle counts as large (section 3.1)."""


@dataclass(frozen=True)
class CaseScore:
    """How well one mask fits its reference. Areas in cm², distances in mm.

    The Dice of a class that the reference lacks is NaN, and so is the overall Dice of an empty reference.
    `false_positive`: muscle was predicted where the reference has none; `large_false_positive`: more of it than 1 % of
    the reference's breast. `false_negative`: none was predicted where the reference has some.
    `hd95_*` and `msd_*`: see `boundary_distances`.
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
    """Score `prediction` against `reference`, both labels (rows, columns) on one grid; `spacing` (row, column) in mm.

    Raises ValueError where the shapes differ.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"prediction of shape {prediction.shape}, reference of shape {reference.shape}")
    predicted = {label: prediction == label for label in (Label.BREAST, Label.PECTORAL_MUSCLE)}
    expected = {label: reference == label for label in (Label.BREAST, Label.PECTORAL_MUSCLE)}
    got = {label: int(np.count_nonzero(mask)) for label, mask in predicted.items()}
    want = {label: int(np.count_nonzero(mask)) for label, mask in expected.items()}
    dice = {label: _dice(predicted[label], expected[label], got[label], want[label]) for label in want}
    hd95, msd = zip(*(boundary_distances(predicted[label], expected[label], spacing) for label in want), strict=True)
    breast, muscle = Label.BREAST, Label.PECTORAL_MUSCLE
    false_positive = got[muscle] > 0 and want[muscle] == 0
    square_cm = spacing[0] * spacing[1] / 100
    return CaseScore(
        dice_breast=dice[breast],
        dice_pectoral=dice[muscle],
        dice_overall=_overall(dice, want),
        false_positive=false_positive,
        false_negative=got[muscle] == 0 and want[muscle] > 0,
        large_false_positive=false_positive and got[muscle] > LARGE_FALSE_POSITIVE * want[breast],
        hd95_breast=hd95[0],
        hd95_pectoral=hd95[1],
        msd_breast=msd[0],
        msd_pectoral=msd[1],
        reference_breast_area=want[breast] * square_cm,
        reference_pectoral_area=want[muscle] * square_cm,
        predicted_breast_area=got[breast] * square_cm,
        predicted_pectoral_area=got[muscle] * square_cm,
    )


def _dice(predicted: Region, expected: Region, got: int, want: int) -> float:
    """Eq. 4; NaN where the class is absent from the reference."""
    if want == 0:
        return math.nan
    return 2 * int(np.count_nonzero(predicted & expected)) / (got + want)


def _overall(dice: dict[Label, float], want: dict[Label, int]) -> float:
    """Mean of the classes' Dice weighted by their pixel counts in the reference (section 2.3.1)."""
    total = sum(want.values())
    if total == 0:
        return math.nan
    return sum(dice[label] * count for label, count in want.items() if count) / total


def boundary_distances(predicted: Region, expected: Region, spacing: Spacing) -> tuple[float, float]:
    """(Hausdorff 95, mean surface distance) in mm between the boundaries of two boolean masks (rows, columns).

    A boundary pixel belongs to the mask and has one of its four neighbours outside; beyond the image's edge everything
    is outside, because the breast always touches that edge at the chest wall. Distances are taken between pixel
    centres, `spacing` (row, column) in mm, from each boundary pixel to the nearest one of the other mask. Hausdorff 95
    is the larger of the two directions' 95th percentiles (linear between ranks); the mean surface distance is the mean
    over the boundary pixels of both. Where one mask is empty both are the image's diagonal; where both are, 0.
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
    """(row, column) of the boundary pixels, shape (n, 2)."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~inner)

"""The spacing of a projection image's pixels, (row, column) in mm, and where the header says it.

ImagerPixelSpacing is that of the detector (PS3.3 C.8.7.3); PixelSpacing may be calibrated to anything (10.7.1.3), so
it comes second. Contact views stay at the detector, as in the paper; magnification views are brought to the breast, by
their factor, or by the distances that it is the ratio of (C.8.11.5).
"""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset

from maseg_nnunet.arrays import Spacing
from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.mammogram import Flag
from maseg_nnunet.readers.attributes import first_level, levels, number, numbers

LEAST: Final = 0.02
LARGEST: Final = 1.0
CONTACT: Final = 1.2
"""Magnification up to this is that of a contact view, whose detector lies a little below the breast."""

GIVEN: Final = "user"
"""Source of a spacing that no header gave."""

LARGEST_SIDE: Final = 600.0
"""mm; the largest films and detectors measure half of it."""

_KEYWORDS: Final = ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing")


def read_spacing(dataset: Dataset, modifiers: tuple[Flag, ...]) -> tuple[Spacing | None, str, tuple[Flag, ...]]:
    """Spacing (None where the header has none), its attribute, and the flags of magnification.

    Raises RefusedError (BAD_SPACING) outside LEAST to LARGEST mm.
    """
    factor = number(dataset, "EstimatedRadiographicMagnificationFactor")
    is_magnified = Flag.MAGNIFICATION in modifiers or (factor is not None and factor > CONTACT)
    flags = [Flag.MAGNIFICATION] if is_magnified and Flag.MAGNIFICATION not in modifiers else []
    if is_magnified and factor is None:
        factor = _factor_of_distances(dataset)
    if factor is not None and factor < 1:
        flags.append(Flag.MAGNIFICATION_BELOW_ONE)
    for keyword in _KEYWORDS:
        found = numbers(first_level(levels(dataset), keyword), keyword)
        if len(found) != 2 or min(found) <= 0:
            continue
        row, column = found
        if keyword == "ImagerPixelSpacing":
            if is_magnified and factor is not None and factor > 1:
                row, column = row / factor, column / factor
            elif is_magnified or (factor is not None and factor > 1):
                flags.append(Flag.CONTACT_MAGNIFICATION)
        return checked((row, column)), keyword, tuple(flags)
    return None, "", tuple(flags)


def _factor_of_distances(dataset: Dataset) -> float | None:
    """Source to detector over source to breast; None where the header lacks one, or they make no magnification."""
    detector, breast = (number(dataset, f"DistanceSourceTo{end}") for end in ("Detector", "Patient"))
    return detector / breast if detector is not None and breast is not None and 0 < breast < detector else None


def given_spacing(spacing_mm: float | Spacing | None) -> Spacing | None:
    """What the user gave as (row, column). Raises RefusedError (BAD_SPACING)."""
    if spacing_mm is None:
        return None
    row, column = spacing_mm if isinstance(spacing_mm, tuple) else (spacing_mm, spacing_mm)
    return checked((float(row), float(column)))


def checked(spacing: Spacing) -> Spacing:
    """`spacing` itself. Raises RefusedError (BAD_SPACING) outside LEAST to LARGEST mm."""
    if not all(LEAST <= value <= LARGEST for value in spacing):
        raise RefusedError(Reason.BAD_SPACING, f"{spacing[0]:g} x {spacing[1]:g} mm is no mammogram's pixel")
    return spacing


def check_extent(shape: tuple[int, int], spacing: Spacing) -> None:
    """Raise RefusedError (BAD_SPACING) for an image larger than LARGEST_SIDE: its grid at 0.4 mm may not fit memory."""
    rows, columns = shape[0] * spacing[0], shape[1] * spacing[1]
    if max(rows, columns) > LARGEST_SIDE:
        raise RefusedError(
            Reason.BAD_SPACING,
            f"{shape[0]} x {shape[1]} pixels of {spacing[0]:g} x {spacing[1]:g} mm are {rows:.0f} x {columns:.0f} mm, "
            f"and no mammogram is larger than {LARGEST_SIDE:.0f} mm",
        )

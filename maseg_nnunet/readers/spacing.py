"""Read the pixel spacing of a projection image, (row, column) in mm, and the attribute that it comes from.

ImagerPixelSpacing is the spacing at the detector (PS3.3 C.8.7.3). PixelSpacing may be calibrated to anything
(10.7.1.3), so it comes second. Contact views keep the spacing at the detector, as in the paper. Magnification views get
the spacing in the breast, from their magnification factor, or from the distances whose ratio it is (C.8.11.5).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from maseg_nnunet.arrays import GivenSpacing, Spacing
from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.mammogram import Flag
from maseg_nnunet.readers.attributes import decimal_texts, decimals, first_level, levels, number
from maseg_nnunet.spacing_table import LARGEST, LEAST

CONTACT: Final = 1.2
"""Largest magnification of a contact view, whose detector is a little below the breast."""

GIVEN: Final = "user"
"""Source of a spacing that the user gave."""

LARGEST_SIDE: Final = 600.0
"""Longest side of an image in mm; the largest films and detectors are half as long."""

USUAL_SHORTER: Final = (60.0, 330.0)
USUAL_LONGER: Final = (130.0, 450.0)
"""Shorter and longer side in mm: of detectors, films, whole scanned sheets, and images cropped to the breast."""

_PARTS: Final = frozenset({Flag.MAGNIFICATION, Flag.SPOT, Flag.IMPLANT_DISPLACED, Flag.BIOPSY, Flag.QUALITY_CONTROL})
_KEYWORDS: Final = ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing")


def read_spacing(dataset: Dataset, modifiers: tuple[Flag, ...]) -> tuple[Spacing | None, str, tuple[Flag, ...]]:
    """Read the spacing of an image.

    Args:
        dataset: The data set.
        modifiers: The flags of `views.read_modifiers`.

    Returns:
        The spacing, (row, column) in mm, or None if the header has none; its attribute's keyword, or ""; the flags of
        magnification.

    Raises:
        RefusedError: BAD_SPACING, if it is not within LEAST to LARGEST mm.
    """
    factor = number(dataset, "EstimatedRadiographicMagnificationFactor")
    is_magnified = Flag.MAGNIFICATION in modifiers or (factor is not None and factor > CONTACT)
    flags = [Flag.MAGNIFICATION] if is_magnified and Flag.MAGNIFICATION not in modifiers else []
    if is_magnified and factor is None:
        factor = _factor_of_distances(dataset)
    if factor is not None and factor < 1:
        flags.append(Flag.MAGNIFICATION_BELOW_ONE)
    for keyword in _KEYWORDS:
        level = first_level(levels(dataset), keyword)
        found = decimals(level, keyword)
        if len(found) != 2 or not min(found) > 0:
            continue
        if any("," in entry for entry in decimal_texts(level, keyword)):
            flags.append(Flag.DECIMAL_COMMA)
        row, column = found
        if keyword == "ImagerPixelSpacing":
            if is_magnified and factor is not None and factor > 1:
                row, column = row / factor, column / factor
            elif is_magnified or (factor is not None and factor > 1):
                flags.append(Flag.CONTACT_MAGNIFICATION)
        return checked((row, column)), keyword, tuple(flags)
    return None, "", tuple(flags)


def _factor_of_distances(dataset: Dataset) -> float | None:
    """Distance source to detector over source to breast; None if one is missing or the ratio is not above 1."""
    detector, breast = (number(dataset, f"DistanceSourceTo{end}") for end in ("Detector", "Patient"))
    return detector / breast if detector is not None and breast is not None and 0 < breast < detector else None


def given_spacing(spacing_mm: GivenSpacing | None, path: Path | None = None) -> Spacing | None:
    """The spacing that the user gave for a file as (row, column) in mm. Raises RefusedError (BAD_SPACING).

    Of a table, the first pattern that fits the end of the path counts; None if none fits.
    """
    if isinstance(spacing_mm, dict):
        fitting = (value for pattern, value in spacing_mm.items() if path is not None and path.match(pattern))
        spacing_mm = next(fitting, None)
    if spacing_mm is None:
        return None
    row, column = spacing_mm if isinstance(spacing_mm, tuple) else (spacing_mm, spacing_mm)
    return checked((float(row), float(column)))


def checked(spacing: Spacing) -> Spacing:
    """Return `spacing`. Raises RefusedError (BAD_SPACING) if it is not within LEAST to LARGEST mm."""
    if not all(LEAST <= value <= LARGEST for value in spacing):
        raise RefusedError(
            Reason.BAD_SPACING, f"{spacing[0]:g} x {spacing[1]:g} mm, expected {LEAST:g} to {LARGEST:g} mm"
        )
    return spacing


def extent_flags(shape: tuple[int, int], spacing: Spacing, flags: Collection[Flag] = ()) -> tuple[Flag, ...]:
    """The flag of an image that is smaller or larger than detectors and films are, and is not a view of a part.

    Args:
        shape: (rows, columns) in pixels.
        spacing: (row, column) in mm.
        flags: The other flags of the image.
    """
    if not _PARTS.isdisjoint(flags):
        return ()
    shorter, longer = sorted((shape[0] * spacing[0], shape[1] * spacing[1]))
    is_usual = USUAL_SHORTER[0] <= shorter <= USUAL_SHORTER[1] and USUAL_LONGER[0] <= longer <= USUAL_LONGER[1]
    return () if is_usual else (Flag.UNUSUAL_EXTENT,)


def check_extent(shape: tuple[int, int], spacing: Spacing) -> None:
    """Raise RefusedError (BAD_SPACING) if a side is above LARGEST_SIDE: the grid at 0.4 mm might not fit in memory."""
    rows, columns = shape[0] * spacing[0], shape[1] * spacing[1]
    if max(rows, columns) > LARGEST_SIDE:
        raise RefusedError(
            Reason.BAD_SPACING,
            f"{shape[0]} x {shape[1]} pixels of {spacing[0]:g} x {spacing[1]:g} mm are {rows:.0f} x {columns:.0f} mm, "
            f"expected at most {LARGEST_SIDE:.0f} mm",
        )

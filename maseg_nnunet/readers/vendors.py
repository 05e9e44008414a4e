"""The makers of mammography systems: how a header names them, and what their headers leave unsaid.

The table is shown in the documentation too. Not for the layout of a maker's data set on disk: that is a module of the
data set conversion.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

UNKNOWN: Final = "unknown"
"""The key of every maker that is not in the table."""

_LINEAR: Final = "A window without VOILUTFunction is LINEAR, the default of DICOM."


@dataclass(frozen=True)
class Vendor:
    """One maker.

    Attributes:
        key: The maker's name in manifests and options.
        title: The maker's name in text.
        names: Names of the maker and of its systems, as headers have them.
        manufacturer: Searched in Manufacturer (0008,0070), in capitals.
        model: Searched in ManufacturerModelName (0008,1090), in capitals.
        systems: Words of its model names. Only these are shown and written, because the element is free text.
        unsaid: What its headers leave unsaid and how it is read, as a sentence.
        assumes_sigmoid: Whether a window without VOILUTFunction (0028,1056) means SIGMOID. The standard's default is
            LINEAR (PS3.3 C.11.2.1.3).
    """

    key: str
    title: str
    names: tuple[str, ...]
    manufacturer: re.Pattern[str]
    model: re.Pattern[str]
    systems: tuple[str, ...]
    unsaid: str = _LINEAR
    assumes_sigmoid: bool = False


VENDORS: Final[dict[str, Vendor]] = {
    vendor.key: vendor
    for vendor in (
        Vendor(
            key="hologic",
            title="Hologic",
            names=("HOLOGIC", "LORAD", "Selenia"),
            manufacturer=re.compile(r"HOLOGIC|\bLORAD\b"),
            model=re.compile(r"\bSELENIA\b|\bLORAD\b"),
            systems=("Lorad", "Selenia", "Dimensions", "3Dimensions", "Performance", "Affirm"),
        ),
        Vendor(
            key="ims_giotto",
            title="IMS Giotto",
            names=("IMS", "I.M.S.", "GIOTTO"),
            manufacturer=re.compile(r"GIOTTO|\bI\.?M\.?S\b"),
            model=re.compile(r"GIOTTO"),
            systems=("Giotto", "Class", "Image", "Tomo", "3DL", "SDL"),
        ),
        Vendor(
            key="fuji",
            title="Fujifilm",
            names=("FUJIFILM", "FUJI PHOTO FILM", "AMULET", "FDR-"),
            manufacturer=re.compile(r"FUJI"),
            model=re.compile(r"\bAMULET\b|\bFDR-"),
            systems=("Amulet", "FDR", "MS", "1000", "2000", "3000AWS", "3500", "Innovality", "Harmony", "S", "F"),
        ),
        Vendor(
            key="ge",
            title="GE",
            names=("GE", "GE HEALTHCARE", "GE MEDICAL SYSTEMS", "GEHC", "GENERAL ELECTRIC", "Senographe", "Seno"),
            manufacturer=re.compile(r"^GE\b|\bGEHC\b|GENERAL ELECTRIC"),
            model=re.compile(r"SENOGRAPH|\bSENO\b"),
            systems=(
                "Senographe",
                "Essential",
                "DS",
                "2000D",
                "Care",
                "Crystal",
                "Nova",
                "Pristina",
                "Seno",
                "SenoClaire",
            ),
            unsaid="A window without VOILUTFunction is SIGMOID, unless a NORMAL table shows that it is LINEAR.",
            assumes_sigmoid=True,
        ),
        Vendor(
            key="siemens",
            title="Siemens",
            names=("SIEMENS", "MAMMOMAT"),
            systems=("Mammomat", "Inspiration", "Novation", "Fusion", "Revelation", "DR", "Prime", "B", "Brilliant"),
            manufacturer=re.compile(r"SIEMENS"),
            model=re.compile(r"MAMMOMAT"),
        ),
        Vendor(
            key="planmed",
            title="Planmed",
            names=("PLANMED",),
            manufacturer=re.compile(r"PLANMED"),
            model=re.compile(r"PLANMED"),
            systems=("Planmed", "Nuance", "Classic", "Excel", "Clarity", "Sophie", "2D", "3D", "S"),
        ),
    )
}
"""The makers by key, in the order of the paper's Table 1 as far as it goes."""


def known_model(vendor: str, model: str) -> str:
    """The words of a model's name that are in the table.

    Args:
        vendor: A key of VENDORS, or UNKNOWN.
        model: ManufacturerModelName (0008,1090); free text.

    Returns:
        The words in the table's spelling; empty for a maker that is not in the table.
    """
    spelling = {word.upper(): word for word in VENDORS[vendor].systems} if vendor in VENDORS else {}
    return " ".join(spelling[word] for word in re.findall(r"[A-Z0-9]+", model.upper()) if word in spelling)


def recognise(manufacturer: str, model: str) -> str:
    """Find the maker of an image.

    The model decides only if Manufacturer is empty or names no maker of the table: headers without Manufacturer exist.

    Args:
        manufacturer: Manufacturer (0008,0070).
        model: ManufacturerModelName (0008,1090).

    Returns:
        A key of VENDORS, or UNKNOWN.
    """
    for vendor in VENDORS.values():
        if vendor.manufacturer.search(manufacturer.upper().strip()):
            return vendor.key
    for vendor in VENDORS.values():
        if vendor.model.search(model.upper()):
            return vendor.key
    return UNKNOWN

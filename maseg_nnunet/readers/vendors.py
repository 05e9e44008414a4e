"""The makers of mammography systems: how a header names them, and what their headers leave unsaid.

Not for the layout of a maker's data set on disk: that is a module of the data set conversion.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

UNKNOWN: Final = "unknown"
"""The key of every maker that is not in the table."""


@dataclass(frozen=True)
class Vendor:
    """One maker. `manufacturer` and `model` are searched in Manufacturer and ManufacturerModelName, in capitals.

    `assumes_sigmoid`: windows without VOILUTFunction are meant as SIGMOID, against the standard's default of LINEAR.
    """

    key: str
    title: str
    manufacturer: re.Pattern[str]
    model: re.Pattern[str]
    assumes_sigmoid: bool = False


def _vendor(key: str, title: str, manufacturer: str, model: str, *, assumes_sigmoid: bool = False) -> Vendor:
    return Vendor(key, title, re.compile(manufacturer), re.compile(model), assumes_sigmoid)


VENDORS: Final[dict[str, Vendor]] = {
    vendor.key: vendor
    for vendor in (
        _vendor("hologic", "Hologic", r"HOLOGIC|\bLORAD\b", r"\bSELENIA\b|\bLORAD\b"),
        _vendor("ims_giotto", "IMS Giotto", r"GIOTTO|\bI\.?M\.?S\b", r"GIOTTO"),
        _vendor("fuji", "Fujifilm", r"FUJI", r"\bAMULET\b|\bFDR-"),
        _vendor("ge", "GE", r"^GE\b|\bGEHC\b|GENERAL ELECTRIC", r"SENOGRAPH|\bSENO\b", assumes_sigmoid=True),
        _vendor("siemens", "Siemens", r"SIEMENS", r"MAMMOMAT"),
        _vendor("planmed", "Planmed", r"PLANMED", r"PLANMED"),
    )
}
"""By key, in the order of the paper's Table 1 as far as it goes."""


def recognise(manufacturer: str, model: str) -> str:
    """The key of the maker that Manufacturer (0008,0070) names, else ManufacturerModelName (0008,1090), else UNKNOWN.

    The model decides only where Manufacturer is empty or no maker of the table: headers without Manufacturer exist.
    """
    for vendor in VENDORS.values():
        if vendor.manufacturer.search(manufacturer.upper().strip()):
            return vendor.key
    for vendor in VENDORS.values():
        if vendor.model.search(model.upper()):
            return vendor.key
    return UNKNOWN

"""VOI look-up tables: from stored values to gray, and to *VOI units* and back.

VOI units u are the scale of every image this project writes for nnU-Net: 0 is the black end and 1 the white end of the
case's base look-up table, not clamped, so that the stored value can be had back and another look-up table of the header
applied in training. Reading the tables from a header is `readers/luts.py`.

Formulas: DICOM PS3.3 C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID), C.11.2.1.3.2 (LINEAR_EXACT), C.11.1.1 (tables).
"Stored value" means the value after the modality LUT throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import FloatArray

SIGMOID_MARGIN: Final = 1 / 512
"""Half an 8-bit gray level: beyond it a sigmoid is too flat to invert and is continued by a straight line."""

TABLE_TILT: Final = 1 / 256
"""Share of a straight line that is mixed into a table so that its flat stretches can be inverted."""

NORMAL: Final = "NORMAL"
FULL_RANGE: Final = "FULL RANGE"


class Function(str, Enum):
    """VOILUTFunction (0028,1056) and, beside its three values, a table (VOILUTSequence)."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"
    TABLE = "TABLE"


@dataclass(frozen=True, eq=False)
class LookUpTable:
    """One window or one table of a header.

    `center` and `width` are in stored values and belong to the three window functions; `first` (the stored value of
    the table's first entry), `bits` (of an entry) and `values` (shape (n,), integer) belong to a table.
    """

    explanation: str
    function: Function
    center: float = 0.0
    width: float = 0.0
    first: int = 0
    bits: int = 0
    values: npt.NDArray[np.integer[Any]] | None = None

    def to_json(self) -> dict[str, Any]:
        """As voi_luts.json has it."""
        if self.values is None:
            return {
                "explanation": self.explanation,
                "function": self.function.value,
                "center": self.center,
                "width": self.width,
            }
        return {
            "explanation": self.explanation,
            "function": self.function.value,
            "first": self.first,
            "bits": self.bits,
            "values": self.values.tolist(),
        }

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> LookUpTable:
        """The inverse of `to_json`. Raises KeyError or ValueError on an entry that is none."""
        function = Function(entry["function"])
        explanation = str(entry["explanation"])
        if function is Function.TABLE:
            values = np.asarray(entry["values"], dtype=np.int64)
            return cls(explanation, function, first=int(entry["first"]), bits=int(entry["bits"]), values=values)
        return cls(explanation, function, center=float(entry["center"]), width=float(entry["width"]))


@dataclass(frozen=True, eq=False)
class CaseLuts:
    """The look-up tables of one case: its line of voi_luts.json. `base` is the index of the one behind VOI units."""

    inverted: bool
    base: int
    luts: tuple[LookUpTable, ...]

    def to_json(self) -> dict[str, Any]:
        """As voi_luts.json has it."""
        return {"inverted": self.inverted, "base": self.base, "luts": [lut.to_json() for lut in self.luts]}

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> CaseLuts:
        """The inverse of `to_json`."""
        luts = tuple(LookUpTable.from_json(lut) for lut in entry["luts"])
        return cls(bool(entry["inverted"]), int(entry["base"]), luts)

    def to_voi_units(self, stored: npt.ArrayLike) -> FloatArray:
        """Stored values of any shape to VOI units, float64."""
        units = to_voi_units(self.luts[self.base], stored)
        return 1.0 - units if self.inverted else units

    def from_voi_units(self, units: npt.ArrayLike) -> FloatArray:
        """VOI units of any shape back to stored values, float64."""
        units = np.asarray(units, dtype=np.float64)
        return from_voi_units(self.luts[self.base], 1.0 - units if self.inverted else units)

    def display(self, stored: npt.ArrayLike, lut: LookUpTable | None = None) -> FloatArray:
        """Stored values to displayed gray in [0, 1], float64, by `lut` or the base, MONOCHROME1 turned over."""
        gray = apply_lut(self.luts[self.base] if lut is None else lut, stored)
        return 1.0 - gray if self.inverted else gray


def full_range(minimum: float, maximum: float) -> LookUpTable:
    """The window of an image without look-up table: its own range, LINEAR_EXACT, explained as FULL RANGE."""
    return LookUpTable(FULL_RANGE, Function.LINEAR_EXACT, center=(minimum + maximum) / 2, width=maximum - minimum)


def can_be_base(lut: LookUpTable) -> bool:
    """Whether VOI units can be built on `lut`: it must be legal and invertible.

    LINEAR needs a width above 1 (1 is a threshold, less is illegal), the others above 0, a table at least two entries
    and no decrease.
    """
    if lut.values is not None:
        # Compared, not subtracted: differences of unsigned entries wrap around.
        rises = bool(np.all(lut.values[1:] >= lut.values[:-1]))
        return len(lut.values) > 1 and rises and bool(lut.values[-1] > lut.values[0])
    if not (np.isfinite(lut.center) and np.isfinite(lut.width)):
        return False
    return lut.width > (1 if lut.function is Function.LINEAR else 0)


def apply_lut(lut: LookUpTable, stored: npt.ArrayLike) -> FloatArray:
    """Stored values of any shape to gray in [0, 1], float64, as PS3.3 C.11.2 draws them.

    Between two entries of a table (resampled stored values are not integers) the gray is interpolated.
    """
    x = np.asarray(stored, dtype=np.float64)
    if lut.values is not None:
        return np.interp(x, _table_abscissa(lut), _table_gray(lut))
    if lut.function is Function.SIGMOID:
        return _sigmoid(lut, x)
    if lut.function is Function.LINEAR and lut.width <= 1:
        return np.asarray(x > lut.center - 0.5, dtype=np.float64)
    return np.clip(_line(lut, x), 0.0, 1.0)


def to_voi_units(lut: LookUpTable, stored: npt.ArrayLike) -> FloatArray:
    """Stored values of any shape to VOI units of `lut`, float64, strictly increasing and not clamped."""
    x = np.asarray(stored, dtype=np.float64)
    if lut.values is not None:
        abscissa, units = _table_abscissa(lut), _tilted(lut)
        outside = np.minimum(x - abscissa[0], 0.0) + np.maximum(x - abscissa[-1], 0.0)
        return np.asarray(np.interp(x, abscissa, units) + outside / (len(units) - 1))
    if lut.function is not Function.SIGMOID:
        return _line(lut, x)
    low, high = _sigmoid_ends(lut)
    units = _sigmoid(lut, x)
    above, below = x > high, x < low
    units[above] = 1.0 + (x[above] - high) / lut.width
    units[below] = (x[below] - low) / lut.width
    return units


def from_voi_units(lut: LookUpTable, units: npt.ArrayLike) -> FloatArray:
    """VOI units of any shape back to stored values, float64: the inverse of `to_voi_units`."""
    u = np.asarray(units, dtype=np.float64)
    if lut.values is not None:
        abscissa, table = _table_abscissa(lut), _tilted(lut)
        outside = np.minimum(u - table[0], 0.0) + np.maximum(u - table[-1], 0.0)
        return np.asarray(np.interp(u, table, abscissa) + outside * (len(table) - 1))
    if lut.function is Function.LINEAR:
        return (u - 0.5) * (lut.width - 1) + lut.center - 0.5
    if lut.function is Function.LINEAR_EXACT:
        return (u - 0.5) * lut.width + lut.center
    low, high = _sigmoid_ends(lut)
    inner = np.clip(u, SIGMOID_MARGIN, 1 - SIGMOID_MARGIN)
    x = lut.center + lut.width / 4 * np.log(inner / (1 - inner))
    x = np.where(u > 1 - SIGMOID_MARGIN, high + np.maximum(u - 1, 0.0) * lut.width, x)
    return np.where(u < SIGMOID_MARGIN, low + np.minimum(u, 0.0) * lut.width, x)


def _line(lut: LookUpTable, x: FloatArray) -> FloatArray:
    if lut.function is Function.LINEAR:
        return (x - (lut.center - 0.5)) / (lut.width - 1) + 0.5
    return (x - lut.center) / lut.width + 0.5


def _sigmoid(lut: LookUpTable, x: FloatArray) -> FloatArray:
    # The exponent is bounded: exp(700) is still finite, and beyond 40 the result is 0 or 1 in float64 anyway.
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (x - lut.center) / lut.width, -700.0, 700.0))))


def _sigmoid_ends(lut: LookUpTable) -> tuple[float, float]:
    """The stored values at which the sigmoid is SIGMOID_MARGIN from black and from white."""
    reach = lut.width / 4 * float(np.log((1 - SIGMOID_MARGIN) / SIGMOID_MARGIN))
    return lut.center - reach, lut.center + reach


def _table_abscissa(lut: LookUpTable) -> FloatArray:
    assert lut.values is not None
    return lut.first + np.arange(len(lut.values), dtype=np.float64)


def _table_gray(lut: LookUpTable) -> FloatArray:
    """A table's entries in [0, 1]. Headers that understate `bits` exist: then the largest entry is white."""
    assert lut.values is not None
    white = max((1 << lut.bits) - 1, int(lut.values.max()))
    return np.asarray(lut.values / white, dtype=np.float64)


def _tilted(lut: LookUpTable) -> FloatArray:
    gray = _table_gray(lut)
    return (1 - TABLE_TILT) * gray + TABLE_TILT * np.linspace(0.0, 1.0, len(gray))

"""VOI look-up tables: from stored values to gray, and to *VOI units* and back.

VOI units u are the scale of every image this project writes for nnU-Net: 0 is the black end and 1 the white end of the
case's base look-up table. They are not clamped, so the stored value can be recovered and another look-up table of the
header applied in training. `readers/luts.py` reads the tables from a header.

Formulas: DICOM PS3.3 C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID), C.11.2.1.3.2 (LINEAR_EXACT), C.11.1.1 (tables).
"Stored value" always means the value after the modality LUT.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import FloatArray

SIGMOID_MARGIN: Final = 1 / 512
"""Half an 8-bit gray level. Closer to black or white a sigmoid is too flat to invert; a straight line continues it."""

TABLE_TILT: Final = 1 / 256
"""Share of a straight line mixed into a table so that its flat stretches can be inverted."""

NORMAL: Final = "NORMAL"
FULL_RANGE: Final = "FULL RANGE"


class Function(str, Enum):
    """How a look-up table is given: the three values of VOILUTFunction (0028,1056), or a table.

    A table is an item of VOILUTSequence (0028,3010), PS3.3 C.11.2.
    """

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"
    TABLE = "TABLE"


@dataclass(frozen=True, eq=False)
class LookUpTable:
    """One window or one table of a header (DICOM PS3.3 C.11.2).

    Attributes:
        explanation: WindowCenterWidthExplanation (0028,1055) or LUTExplanation (0028,3003), such as NORMAL;
            `FULL_RANGE` for a window that is not from a header.
        function: A window's function, or `Function.TABLE`.
        center: Window center (0028,1050) in stored values. Not used by a table.
        width: Window width (0028,1051) in stored values. Not used by a table.
        first: The stored value that the table's first entry belongs to. Not used by a window.
        bits: Bits per entry of the table. Not used by a window.
        values: The table's entries, shape (n,), any integer type; None for a window.
    """

    explanation: str
    function: Function
    center: float = 0.0
    width: float = 0.0
    first: int = 0
    bits: int = 0
    values: npt.NDArray[np.integer[Any]] | None = None

    def to_json(self) -> dict[str, Any]:
        """This look-up table as voi_luts.json stores it."""
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
        """The inverse of `to_json`.

        Args:
            entry: One look-up table as `to_json` returns it.

        Returns:
            The look-up table; a table's entries become int64.

        Raises:
            KeyError: If a key is missing.
            ValueError: If the function is unknown or a number can't be parsed.
        """
        function = Function(entry["function"])
        explanation = str(entry["explanation"])
        if function is Function.TABLE:
            values = np.asarray(entry["values"], dtype=np.int64)
            return cls(explanation, function, first=int(entry["first"]), bits=int(entry["bits"]), values=values)
        return cls(explanation, function, center=float(entry["center"]), width=float(entry["width"]))


@dataclass(frozen=True, eq=False)
class CaseLuts:
    """The look-up tables of one case: its line of voi_luts.json.

    Attributes:
        inverted: Whether the image is MONOCHROME1, so that gray and VOI units are turned over after the table.
        base: Index in `luts` of the look-up table that defines the case's VOI units; see `can_be_base`.
        luts: All usable look-up tables of the header, the base among them.
    """

    inverted: bool
    base: int
    luts: tuple[LookUpTable, ...]

    def to_json(self) -> dict[str, Any]:
        """The case's line as voi_luts.json stores it."""
        return {"inverted": self.inverted, "base": self.base, "luts": [lut.to_json() for lut in self.luts]}

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> CaseLuts:
        """The inverse of `to_json`.

        Raises:
            KeyError: If a key is missing.
            ValueError: If a look-up table's function is unknown or a number can't be parsed.
        """
        luts = tuple(LookUpTable.from_json(lut) for lut in entry["luts"])
        return cls(bool(entry["inverted"]), int(entry["base"]), luts)

    def to_voi_units(self, stored: npt.ArrayLike) -> FloatArray:
        """Convert stored values to VOI units of the base look-up table.

        Args:
            stored: Values after the modality LUT, any shape and numeric type.

        Returns:
            VOI units, float64, same shape: 0 is black and 1 is white, not clamped.
        """
        units = to_voi_units(self.luts[self.base], stored)
        return 1.0 - units if self.inverted else units

    def from_voi_units(self, units: npt.ArrayLike) -> FloatArray:
        """Convert VOI units back to stored values: the inverse of `to_voi_units`.

        Args:
            units: VOI units of this case, any shape.

        Returns:
            Stored values, float64, same shape, not rounded.
        """
        units = np.asarray(units, dtype=np.float64)
        return from_voi_units(self.luts[self.base], 1.0 - units if self.inverted else units)

    def display(self, stored: npt.ArrayLike, lut: LookUpTable | None = None) -> FloatArray:
        """Convert stored values to the gray that a viewer shows.

        Args:
            stored: Values after the modality LUT, any shape and numeric type.
            lut: The look-up table to apply; the base if None.

        Returns:
            Gray in [0, 1], float64, same shape. MONOCHROME1 is turned over, so 0 is always black.
        """
        gray = apply_lut(self.luts[self.base] if lut is None else lut, stored)
        return 1.0 - gray if self.inverted else gray


def full_range(minimum: float, maximum: float) -> LookUpTable:
    """The window of an image without a usable look-up table: LINEAR_EXACT over the image's own range.

    Args:
        minimum: The image's lowest stored value; black.
        maximum: The image's highest stored value; white.

    Returns:
        A window whose explanation is `FULL_RANGE`.
    """
    return LookUpTable(FULL_RANGE, Function.LINEAR_EXACT, center=(minimum + maximum) / 2, width=maximum - minimum)


def can_be_base(lut: LookUpTable) -> bool:
    """Whether VOI units can be built on `lut`: it must be legal and invertible.

    LINEAR needs a width above 1 (1 is a threshold, less is illegal; PS3.3 C.11.2.1.2.1), the other windows a width
    above 0. A table needs at least two entries, must never decrease, and must end above its first entry.
    """
    if lut.values is not None:
        # Compared, not subtracted: differences of unsigned entries wrap around.
        rises = bool(np.all(lut.values[1:] >= lut.values[:-1]))
        return len(lut.values) > 1 and rises and bool(lut.values[-1] > lut.values[0])
    if not (np.isfinite(lut.center) and np.isfinite(lut.width)):
        return False
    return lut.width > (1 if lut.function is Function.LINEAR else 0)


def apply_lut(lut: LookUpTable, stored: npt.ArrayLike) -> FloatArray:
    """Convert stored values to gray by the formulas of DICOM PS3.3 C.11.2, MONOCHROME1 not turned over.

    Args:
        lut: A window or a table. The entries of a table may decrease.
        stored: Values after the modality LUT, any shape and numeric type. Resampled values are not integers, so the
            gray is interpolated between two entries of a table.

    Returns:
        Gray in [0, 1], float64, same shape.
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
    """Convert stored values to VOI units of `lut`, MONOCHROME1 not turned over.

    Inside the window or table, VOI units are its gray (a table's is tilted by `TABLE_TILT`). Beyond it they continue as
    a straight line.

    Args:
        lut: A look-up table for which `can_be_base` is true.
        stored: Values after the modality LUT, any shape and numeric type.

    Returns:
        VOI units, float64, same shape; they strictly increase with the stored value and are not clamped.
    """
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
    """Convert VOI units back to stored values: the inverse of the function `to_voi_units`.

    Args:
        lut: A look-up table for which `can_be_base` is true.
        units: VOI units of `lut`, any shape.

    Returns:
        Stored values, float64, same shape, not rounded.
    """
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
    # Bounded so that exp does not overflow. Beyond 40 the result is 0 or 1 in float64 anyway.
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (x - lut.center) / lut.width, -700.0, 700.0))))


def _sigmoid_ends(lut: LookUpTable) -> tuple[float, float]:
    """The stored values at which the sigmoid is SIGMOID_MARGIN from black and from white."""
    reach = lut.width / 4 * float(np.log((1 - SIGMOID_MARGIN) / SIGMOID_MARGIN))
    return lut.center - reach, lut.center + reach


def _table_abscissa(lut: LookUpTable) -> FloatArray:
    assert lut.values is not None
    return lut.first + np.arange(len(lut.values), dtype=np.float64)


def _table_gray(lut: LookUpTable) -> FloatArray:
    """A table's entries in [0, 1]. If the header's `bits` are wrong, the largest entry is white."""
    assert lut.values is not None
    full, largest = (1 << lut.bits) - 1, int(lut.values.max())
    white = largest if largest > full or overstates_bits(lut) else full
    return np.asarray(lut.values / white, dtype=np.float64)


def overstates_bits(lut: LookUpTable) -> bool:
    """Whether a table's largest entry is below half of the range that its header states (PS3.3 C.11.1.1.1).

    Headers with 16 bits for entries of 12 exist. Displayed as stated, such an image is nearly black.
    """
    return lut.values is not None and 0 < 2 * int(lut.values.max()) < (1 << lut.bits) - 1


def _tilted(lut: LookUpTable) -> FloatArray:
    gray = _table_gray(lut)
    return (1 - TABLE_TILT) * gray + TABLE_TILT * np.linspace(0.0, 1.0, len(gray))

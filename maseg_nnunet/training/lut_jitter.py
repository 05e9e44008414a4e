"""Apply a random look-up table of a case's header, center and width jittered (paper section 2.2.2, Table 3).

Images on disk are in VOI units of the case's base look-up table. So the stored value can be recovered, and another
table can be applied to it (`voi.py`). To do that for every pixel would cost more than the rest of the augmentation.
Gray is a function of the VOI unit alone, so it is tabulated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import FloatArray, Image
from maseg_nnunet.voi import NORMAL, CaseLuts, Function, LookUpTable, apply_lut

WITHOUT_HEADER: Final = CaseLuts(False, 0, (LookUpTable(NORMAL, Function.LINEAR_EXACT, center=0.5, width=1.0),))
"""For a case that is missing in voi_luts.json: the window for which stored values are VOI units."""

_LINEAR: Final = (Function.LINEAR, Function.LINEAR_EXACT)
_NODES: Final = 16384


@dataclass(frozen=True, eq=False)
class JitteredLut:
    """A look-up table with another center and width.

    Attributes:
        lut: A window or table of a header.
        center: Its center in stored values; see `center_of`.
        shift: Shift of the center, in stored values.
        stretch: Factor of the width.
    """

    lut: LookUpTable
    center: float
    shift: float = 0.0
    stretch: float = 1.0

    def unjittered(self, stored: npt.ArrayLike) -> FloatArray:
        """Map stored values so that `lut` gives the gray that the jittered table gives.

        Args:
            stored: Values after the modality LUT, any shape.

        Returns:
            Values to apply `lut` to, float64, same shape.
        """
        return self.center + (np.asarray(stored, dtype=np.float64) - self.center - self.shift) / self.stretch

    def jittered(self, stored: npt.ArrayLike) -> FloatArray:
        """The inverse of `unjittered`; float64, same shape."""
        return self.center + self.shift + (np.asarray(stored, dtype=np.float64) - self.center) * self.stretch


def center_of(lut: LookUpTable) -> float:
    """Center in stored values. The center of a table is where its gray first crosses one half."""
    if lut.values is None:
        return lut.center
    gray = apply_lut(lut, lut.first + np.arange(len(lut.values)))
    rising = gray if gray[-1] >= gray[0] else 1 - gray
    return lut.first + float(np.interp(0.5, np.maximum.accumulate(rising), np.arange(len(gray))))


def draw_lut(luts: CaseLuts, jitter: float, rng: np.random.Generator) -> JitteredLut:
    """Draw one of the case's look-up tables, each with the same probability, and its jitter.

    The width of a table is its length, so a table is stretched about its center.

    Args:
        luts: The case's look-up tables.
        jitter: Largest change of center and width, each as a share of itself.
        rng: Generator to draw from.

    Returns:
        The jittered look-up table.
    """
    lut = luts.luts[rng.integers(len(luts.luts))]
    move, stretch = rng.uniform(-jitter, jitter, 2)
    center = center_of(lut)
    return JitteredLut(lut, center, move * center, 1 + stretch)


def to_gray(units: Image, luts: CaseLuts, chosen: JitteredLut) -> Image:
    """Convert VOI units to gray by a jittered look-up table.

    Exact if both the base and `chosen` are LINEAR or LINEAR_EXACT. Otherwise gray is interpolated between `_NODES`
    nodes over the range where `chosen` is not flat.

    Args:
        units: VOI units of the case, float32 (rows, columns).
        luts: The case's look-up tables. Their base defines the VOI units.
        chosen: One of them, jittered.

    Returns:
        Gray in [0, 1], float32 (rows, columns).
    """
    ends = np.sort(luts.to_voi_units(chosen.jittered(_active_range(chosen.lut))))
    is_linear = chosen.lut.function in _LINEAR and luts.luts[luts.base].function in _LINEAR
    nodes = np.linspace(ends[0], ends[1], 2 if is_linear else _NODES)
    values = luts.display(chosen.unjittered(luts.from_voi_units(nodes)), chosen.lut).astype(np.float32)
    span = max(float(ends[1] - ends[0]), 1e-12)
    position: Image = (units - np.float32(ends[0])) * np.float32((len(nodes) - 1) / span)
    np.clip(position, 0, len(nodes) - 1, out=position)
    if is_linear:
        position *= values[1] - values[0]
        position += values[0]
        return position
    return np.asarray(cv2.remap(values[None], position, np.zeros_like(position), cv2.INTER_LINEAR))


def random_gray(units: Image, luts: CaseLuts, jitter: float, rng: np.random.Generator) -> Image:
    """Convert VOI units to gray by a random look-up table: the first step of the paper's augmentation.

    Args:
        units: VOI units of the case, float32 (rows, columns).
        luts: The case's look-up tables.
        jitter: Largest change of center and width, each as a share of itself.
        rng: Generator to draw from.

    Returns:
        Gray in [0, 1], float32 (rows, columns).
    """
    return to_gray(units, luts, draw_lut(luts, jitter, rng))


def luts_of(case: str, table: Mapping[str, CaseLuts]) -> CaseLuts:
    """The case's look-up tables in `table`, or `WITHOUT_HEADER`."""
    return table.get(case, WITHOUT_HEADER)


def _active_range(lut: LookUpTable) -> tuple[float, float]:
    """The stored values between which a look-up table is not flat. Beyond them a sigmoid is within 5e-5 of its end."""
    if lut.values is not None:
        return lut.first, lut.first + len(lut.values) - 1
    if lut.function is Function.SIGMOID:
        return lut.center - 2.5 * lut.width, lut.center + 2.5 * lut.width
    if lut.function is Function.LINEAR:
        # A width of 1 is a threshold. For integers it equals a ramp over one stored value.
        half = max(lut.width - 1, 1.0) / 2
        return lut.center - 0.5 - half, lut.center - 0.5 + half
    return lut.center - lut.width / 2, lut.center + lut.width / 2

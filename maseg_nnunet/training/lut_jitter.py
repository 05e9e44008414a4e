"""A random look-up table of a case's own header, its center and width jittered (paper section 2.2.2, Table 3).

Images on disk are in VOI units of the case's base look-up table, so the stored value can be had back and another table
applied to it (`voi.py`). Doing that for every pixel would cost more than the rest of the augmentation: since VOI units
to gray is one function of one variable, it is tabulated and looked up.
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
"""For a case that voi_luts.json lacks: the window that VOI units themselves are."""

_LINEAR: Final = (Function.LINEAR, Function.LINEAR_EXACT)
_NODES: Final = 16384


@dataclass(frozen=True, eq=False)
class JitteredLut:
    """`lut`, whose center is `center`, with the center moved by `shift` and the width multiplied by `stretch`.

    `center` and `shift` are in stored values.
    """

    lut: LookUpTable
    center: float
    shift: float = 0.0
    stretch: float = 1.0

    def unjittered(self, stored: npt.ArrayLike) -> FloatArray:
        """The stored values at which `lut` is to be read, float64, so that it acts as if it were jittered."""
        return self.center + (np.asarray(stored, dtype=np.float64) - self.center - self.shift) / self.stretch

    def jittered(self, stored: npt.ArrayLike) -> FloatArray:
        """The inverse of `unjittered`."""
        return self.center + self.shift + (np.asarray(stored, dtype=np.float64) - self.center) * self.stretch


def center_of(lut: LookUpTable) -> float:
    """In stored values; of a table where it first crosses one half."""
    if lut.values is None:
        return lut.center
    gray = apply_lut(lut, lut.first + np.arange(len(lut.values)))
    rising = gray if gray[-1] >= gray[0] else 1 - gray
    return lut.first + float(np.interp(0.5, np.maximum.accumulate(rising), np.arange(len(gray))))


def draw_lut(luts: CaseLuts, jitter: float, rng: np.random.Generator) -> JitteredLut:
    """One of the case's look-up tables, all alike likely; center and width each changed by up to the share `jitter`.

    A table's width is its length, so it is stretched about its center.
    """
    lut = luts.luts[rng.integers(len(luts.luts))]
    move, stretch = rng.uniform(-jitter, jitter, 2)
    center = center_of(lut)
    return JitteredLut(lut, center, move * center, 1 + stretch)


def to_gray(units: Image, luts: CaseLuts, chosen: JitteredLut) -> Image:
    """VOI units (rows, columns) of the case to gray in [0, 1] by `chosen`, float32.

    Exact where both the base and `chosen` are windows of the LINEAR kinds; otherwise interpolated between 16,384 nodes
    over the range where `chosen` is not flat.
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
    """`to_gray` by a look-up table that is drawn: the first step of the paper's augmentation."""
    return to_gray(units, luts, draw_lut(luts, jitter, rng))


def luts_of(case: str, table: Mapping[str, CaseLuts]) -> CaseLuts:
    """The case's look-up tables, or the one window of a case without any."""
    return table.get(case, WITHOUT_HEADER)


def _active_range(lut: LookUpTable) -> tuple[float, float]:
    """The stored values between which a look-up table is not flat (a sigmoid: to 5e-5)."""
    if lut.values is not None:
        return lut.first, lut.first + len(lut.values) - 1
    if lut.function is Function.SIGMOID:
        return lut.center - 2.5 * lut.width, lut.center + 2.5 * lut.width
    if lut.function is Function.LINEAR:
        # A width of 1 is a threshold; a ramp of one stored value is the same for integers.
        half = max(lut.width - 1, 1.0) / 2
        return lut.center - 0.5 - half, lut.center - 0.5 + half
    return lut.center - lut.width / 2, lut.center + lut.width / 2

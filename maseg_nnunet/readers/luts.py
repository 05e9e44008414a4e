"""Read the VOI look-up tables of a header and choose the base of the VOI units. Formulas are in `voi.py`.

PS3.3 C.11.2: windows (values of WindowCenter and WindowWidth) and tables (items of VOILUTSequence) are alternatives for
one image. The base is the one explained as NORMAL, a window before a table; else the first window, else the first
table. One that is illegal or can't be inverted is skipped.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Final

import numpy as np
from pydicom.dataset import Dataset

from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.mammogram import Flag, Intent
from maseg_nnunet.readers.attributes import (
    code,
    decimals,
    first_level,
    is_present,
    items,
    levels,
    printable,
    text,
    texts,
)
from maseg_nnunet.readers.lut_table import read_table
from maseg_nnunet.readers.pixels import Stored
from maseg_nnunet.readers.vendors import VENDORS
from maseg_nnunet.voi import (
    NORMAL,
    CaseLuts,
    Function,
    LookUpTable,
    apply_lut,
    can_be_base,
    full_range,
    overstates_bits,
)

_WINDOW_FUNCTIONS: Final = {f.value: f for f in (Function.LINEAR, Function.LINEAR_EXACT, Function.SIGMOID)}
_KNOWN_WORDS: Final = frozenset(
    """
    NORMAL HARDER SOFTER HARD SOFT NEUTRAL DEFAULT STANDARD USER PREFERRED ALTERNATE ALTERNATIVE OTHER
    ORIGINAL LINEAR SIGMOID AUTO MANUAL HIGH LOW MEDIUM CONTRAST WIDE NARROW BRIGHT BRIGHTER DARK DARKER
    FLAT VERY EXTRA FULL RANGE BREAST SKIN FATTY DENSE TISSUE GLANDULAR IMPLANT MAMMO MAMMOGRAPHY WINDOW
    LUT VOI TABLE CURVE PROCESSED PREMIUM VIEW FILM LIKE ALGO ALGORITHM PRESENTATION
    """.split()  # noqa: SIM905  # a list of literals would have one word in each line
)
"""Words of explanations that are kept. The elements are free text, so other words may be anybody's name."""

_LARGEST: Final = 1e9
_LEAST_WIDTH: Final = 1e-6


def read_luts(
    dataset: Dataset, stored: Stored, *, inverted: bool, vendor: str, intent: Intent, raw_windows: bool
) -> tuple[CaseLuts, tuple[Flag, ...]]:
    """Read the usable look-up tables of an image and the flags about them.

    If a header has none, the image's own range of values is the window.

    Args:
        dataset: The data set.
        stored: The image's pixels and their range.
        inverted: Whether the image is MONOCHROME1.
        vendor: Key of the maker in `VENDORS`; decides the function of a window without VOILUTFunction (0028,1056).
        intent: The image's intent.
        raw_windows: Use the look-up tables of a raw image too; they are ignored otherwise.

    Returns:
        The look-up tables with their base, and the flags.

    Raises:
        RefusedError: NO_LUT, if a processed image has look-up tables and none can be a base.
    """
    flags: list[Flag] = []
    offered: list[LookUpTable] = []
    anything = False
    if intent is not Intent.RAW or raw_windows:
        tables, broken = _read_tables(dataset, stored.limits)
        windows, window_flags = _read_windows(dataset, vendor, tables)
        offered, flags = [*windows, *tables], window_flags
        anything = bool(offered) or broken or is_present(first_level(levels(dataset), "WindowCenter"), "WindowCenter")
    preferred = sorted(offered, key=lambda lut: (not _is_normal(lut), lut.values is not None))
    base = next((lut for lut in preferred if _is_invertible(lut)), None)
    if base is None:
        if anything and intent is not Intent.RAW:
            raise RefusedError(
                Reason.NO_LUT, "the header has no window with a legal width and no table that never decreases"
            )
        return CaseLuts(inverted, 0, (own_range(stored.minimum, stored.maximum),)), ()
    if base is not preferred[0]:
        flags.append(Flag.BASE_NOT_NORMAL)
    usable = tuple(lut for lut in offered if _is_usable(lut))
    if any(overstates_bits(lut) for lut in usable):
        flags.append(Flag.TABLE_BITS_OVERSTATED)
    return CaseLuts(inverted, usable.index(base), usable), tuple(flags)


def own_range(minimum: float, maximum: float) -> LookUpTable:
    """The FULL RANGE window of an image. A constant image gets a width of 1."""
    return full_range(minimum, maximum) if maximum > minimum else full_range(minimum - 0.5, minimum + 0.5)


def _read_windows(dataset: Dataset, vendor: str, tables: list[LookUpTable]) -> tuple[list[LookUpTable], list[Flag]]:
    level = first_level(levels(dataset), "WindowCenter")
    centers, widths = decimals(level, "WindowCenter"), decimals(level, "WindowWidth")
    explanations = texts(level, "WindowCenterWidthExplanation")
    function = _WINDOW_FUNCTIONS.get(code(level, "VOILUTFunction"))
    windows = [
        LookUpTable(known_words(explanations[i] if i < len(explanations) else "", i), function or Function.LINEAR, c, w)
        for i, (c, w) in enumerate(zip(centers, widths, strict=False))
        if math.isfinite(c) and math.isfinite(w)
    ]
    if function is not None or vendor not in VENDORS or not VENDORS[vendor].assumes_sigmoid:
        return windows, []
    window = next((lut for lut in windows if _is_normal(lut) and _is_invertible(lut)), None)
    table = next((lut for lut in tables if _is_normal(lut)), None)
    assumed, flag = Function.SIGMOID, [Flag.SIGMOID_ASSUMED]
    if window is not None and table is not None:
        # The table of the same name shows the same picture, so the function nearest to it was meant.
        assumed = min((Function.SIGMOID, Function.LINEAR), key=lambda f: _distance(replace(window, function=f), table))
        flag = [Flag.LINEAR_ASSUMED] if assumed is Function.LINEAR else []
    return [replace(lut, function=assumed) for lut in windows], flag if windows else []


def known_words(explanation: str, index: int) -> str:
    """An explanation if all its words are in `_KNOWN_WORDS` or numbers of one or two digits, else a number.

    Args:
        explanation: WindowCenterWidthExplanation (0028,1055) or LUTExplanation (0028,3003); free text.
        index: Place of the window or table in its header, from 0.

    Returns:
        `explanation`, "" if it is empty, or "LUT 1", "LUT 2" and so on.
    """
    words = re.findall(r"[^\W_]+", explanation)
    is_known = all(word.upper() in _KNOWN_WORDS or re.fullmatch(r"\d{1,2}", word, re.ASCII) for word in words)
    return printable(explanation) if is_known else f"LUT {index + 1}"


def _distance(window: LookUpTable, table: LookUpTable) -> float:
    """Mean absolute difference in gray of a window and a table, over the table's inputs."""
    stored = table.first + np.arange(len(table.values) if table.values is not None else 0)
    return float(np.mean(np.abs(apply_lut(window, stored) - apply_lut(table, stored))))


def _read_tables(dataset: Dataset, limits: tuple[float, float]) -> tuple[list[LookUpTable], bool]:
    """The tables, and whether one can't be read."""
    found = items(first_level(levels(dataset), "VOILUTSequence"), "VOILUTSequence")
    tables = []
    for i, item in enumerate(found):
        table = read_table(item, limits)
        if table is not None:
            explanation = known_words(text(item, "LUTExplanation"), i)
            tables.append(
                LookUpTable(explanation, Function.TABLE, first=table.first, bits=table.bits, values=table.values)
            )
    return tables, len(tables) < len(found)


def _is_normal(lut: LookUpTable) -> bool:
    return lut.explanation.upper() == NORMAL


def _is_invertible(lut: LookUpTable) -> bool:
    if lut.values is None and not (abs(lut.center) < _LARGEST and _LEAST_WIDTH < lut.width < _LARGEST):
        return False
    return can_be_base(lut)


def _is_usable(lut: LookUpTable) -> bool:
    """Whether it can be displayed: a table may decrease, but must not be constant."""
    return _is_invertible(lut) or (
        lut.values is not None and len(lut.values) > 1 and lut.values.min() < lut.values.max()
    )

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_voi, apply_windowing

from maseg_nnunet.voi import (
    FULL_RANGE,
    SIGMOID_MARGIN,
    CaseLuts,
    Function,
    LookUpTable,
    apply_lut,
    can_be_base,
    from_voi_units,
    full_range,
    to_voi_units,
)

WINDOWS = [Function.LINEAR, Function.LINEAR_EXACT, Function.SIGMOID]


@st.composite
def windows(draw: st.DrawFn, least: float = 2.0) -> LookUpTable:
    center = draw(st.floats(-3000, 70000).map(lambda value: round(value, 2)))
    width = draw(st.floats(least, 20000).map(lambda value: round(value, 2)))
    return LookUpTable("", draw(st.sampled_from(WINDOWS)), center=center, width=width)


@st.composite
def tables(draw: st.DrawFn) -> LookUpTable:
    """Tables that never decrease, with flat stretches, of the types that readers and JSON make."""
    bits = draw(st.sampled_from([8, *range(10, 17)]))
    entries = draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=2, max_size=300))
    entries.sort()
    if entries[0] == entries[-1]:
        entries[0], entries[-1] = 0, (1 << bits) - 1
    values = np.array(entries, dtype=draw(st.sampled_from([np.uint16, np.int64])))
    return LookUpTable("", Function.TABLE, first=draw(st.integers(-2000, 3000)), bits=bits, values=values)


luts = windows() | tables()


def extent(lut: LookUpTable) -> tuple[float, float]:
    """Where the look-up table is black and where it is white, roughly; the difference is its width."""
    if lut.values is None:
        return lut.center - lut.width / 2, lut.center + lut.width / 2
    return lut.first, lut.first + len(lut.values) - 1


def around(lut: LookUpTable, count: int = 801) -> npt.NDArray[np.float64]:
    """Stored values from two widths below to two widths above."""
    low, high = extent(lut)
    return np.linspace(low - 2 * (high - low), high + 2 * (high - low), count)


@settings(max_examples=150, deadline=None)
@given(lut=windows(least=1.0), offset=st.integers(-30000, 30000))
def test_windows_against_pydicom(lut: LookUpTable, offset: int) -> None:
    header = Dataset()
    # pydicom's oracle reads decimal strings of at most 16 characters.
    header.WindowCenter, header.WindowWidth = str(lut.center), str(lut.width)
    header.VOILUTFunction = lut.function.value
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsStored, header.PixelRepresentation = 16, 0
    stored = np.clip(np.round(lut.center + np.arange(-600, 600) * lut.width / 400 + offset * 1e-3), 0, 65535)
    with np.errstate(over="ignore"):  # of the oracle's own exponential
        expected = apply_windowing(stored.astype(np.uint16), header) / 65535
    np.testing.assert_allclose(apply_lut(lut, stored), expected, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(lut=tables(), falling=st.booleans())
def test_tables_against_pydicom(lut: LookUpTable, falling: bool) -> None:
    assert lut.values is not None
    values = lut.values[::-1] if falling else lut.values
    lut = LookUpTable("", Function.TABLE, first=lut.first, bits=lut.bits, values=values)
    item = Dataset()
    item.add_new("LUTDescriptor", "SS", [len(values), lut.first, lut.bits])
    item.add_new("LUTData", "US", [int(value) for value in values])
    header = Dataset()
    header.VOILUTSequence = [item]
    stored = np.arange(lut.first - 50, lut.first + len(values) + 50, dtype=np.int16)
    full, largest = (1 << lut.bits) - 1, int(values.max())
    expected = apply_voi(stored, header) / (largest if 0 < 2 * largest < full else full)
    np.testing.assert_allclose(apply_lut(lut, stored), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("function", "center", "width", "stored", "gray"),
    [
        # PS3.3 C.11.2.1.2.1: c = 2048, w = 4096 maps 0 to black, 4095 to white, 2047.5 to the middle.
        (Function.LINEAR, 2048, 4096, [-1, 0, 2047.5, 4095, 4096], [0, 0, 0.5, 1, 1]),
        (Function.LINEAR, 2048, 1, [2047, 2047.5, 2048], [0, 0, 1]),
        (Function.LINEAR, 0, 100, [-50, -49, -0.5, 49, 50], [0, 1 / 99, 0.5, 1, 1]),
        (Function.LINEAR_EXACT, 2048, 4096, [0, 1024, 2048, 4096, 5000], [0, 0.25, 0.5, 1, 1]),
        (Function.LINEAR_EXACT, 0, 0.5, [-0.25, 0, 0.125, 0.25], [0, 0.5, 0.75, 1]),
        (Function.SIGMOID, 2065, 900, [2065, 2065 + 225, 2065 - 450], [0.5, 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(2))]),
    ],
)
def test_windows_by_hand(function: Function, center: float, width: float, stored: Any, gray: Any) -> None:
    lut = LookUpTable("", function, center=center, width=width)
    np.testing.assert_allclose(apply_lut(lut, stored), gray, atol=1e-12)


def test_a_table_by_hand() -> None:
    lut = LookUpTable("", Function.TABLE, first=10, bits=8, values=np.array([0, 51, 51, 255], np.uint16))
    np.testing.assert_allclose(apply_lut(lut, [0, 10, 11, 12, 12.5, 13, 99]), [0, 0, 0.2, 0.2, 0.6, 1, 1])
    # 255/256 of the table, 1/256 of the straight line; beyond it the line with slope 1/(n - 1).
    np.testing.assert_allclose(
        to_voi_units(lut, [7, 10, 11, 12, 13, 16]),
        [-1, 0, 0.2 * 255 / 256 + 1 / 3 / 256, 0.2 * 255 / 256 + 2 / 3 / 256, 1, 2],
    )


def test_a_table_that_holds_more_than_its_bits_say_is_white_at_its_largest_entry() -> None:
    lut = LookUpTable("", Function.TABLE, bits=8, values=np.array([0, 500, 1000], np.uint16))
    np.testing.assert_allclose(apply_lut(lut, [0, 1, 2]), [0, 0.5, 1])


@pytest.mark.parametrize(
    ("function", "stored", "units"),
    [
        # u = (x - (c - 0.5))/(w - 1) + 0.5 and u = (x - c)/w + 0.5, not clamped
        (Function.LINEAR, [-4095, 0, 4095, 8190], [-1, 0, 1, 2]),
        (Function.LINEAR_EXACT, [-4096, 0, 4096, 8192], [-1, 0, 1, 2]),
    ],
)
def test_units_of_a_window_by_hand(function: Function, stored: Any, units: Any) -> None:
    lut = LookUpTable("", function, center=2048, width=4096)
    np.testing.assert_allclose(to_voi_units(lut, stored), units, atol=1e-12)
    np.testing.assert_allclose(from_voi_units(lut, units), stored, atol=1e-9)


def test_units_of_a_sigmoid_by_hand() -> None:
    lut = LookUpTable("", Function.SIGMOID, center=2000, width=1000)
    # s = 1/512 at c - w/4·ln(511)
    reach = 250 * np.log(511)
    np.testing.assert_allclose(
        to_voi_units(lut, [2000, 2250, 2000 + reach + 500, 2000 - reach - 500]),
        [0.5, 1 / (1 + np.exp(-1)), 1.5, -0.5],
        atol=1e-12,
    )
    inside = to_voi_units(lut, [2000 + reach - 1e-6, 2000 - reach + 1e-6])
    np.testing.assert_allclose(inside, [1 - SIGMOID_MARGIN, SIGMOID_MARGIN], atol=1e-8)


@settings(max_examples=300, deadline=None)
@given(lut=luts)
def test_units_rise_and_agree_with_the_gray(lut: LookUpTable) -> None:
    assert can_be_base(lut)
    stored = around(lut)
    units = to_voi_units(lut, stored)
    assert (np.diff(units) > 0).all()
    # What the network sees is the gray that a viewer shows; of a table, but for the tilt.
    tolerance = SIGMOID_MARGIN if lut.function is Function.SIGMOID else 1 / 256 if lut.values is not None else 1e-12
    # A table need not reach black or white; beyond it units go on where the gray stays.
    gray = apply_lut(lut, stored)
    assert np.abs(np.clip(units, gray[0], gray[-1]) - gray).max() <= tolerance * 1.001


@settings(max_examples=300, deadline=None)
@given(lut=luts, inverted=st.booleans())
def test_units_in_float32_give_stored_values_back(lut: LookUpTable, inverted: bool) -> None:
    case = CaseLuts(inverted, 0, (lut,))
    low, high = extent(lut)
    stored = around(lut)
    back = case.from_voi_units(case.to_voi_units(stored).astype(np.float32))
    assert np.abs(back - stored).max() <= 1e-5 * (high - low)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("function", WINDOWS)
def test_every_stored_value_of_12_bits_comes_back(function: Function, inverted: bool) -> None:
    case = CaseLuts(inverted, 0, (LookUpTable("", function, center=2065, width=900),))
    stored = np.arange(4096)
    back = case.from_voi_units(case.to_voi_units(stored).astype(np.float32))
    assert np.abs(back - stored).max() <= 1e-5 * 900
    np.testing.assert_array_equal(np.round(back), stored)


@settings(max_examples=100, deadline=None)
@given(lut=luts, units=st.lists(st.floats(-3, 4), min_size=1, max_size=20))
def test_any_unit_has_a_stored_value(lut: LookUpTable, units: list[float]) -> None:
    stored = from_voi_units(lut, sorted(units))
    assert np.isfinite(stored).all()
    assert (np.diff(stored) >= 0).all()


def test_monochrome1_is_turned_over_after_the_table() -> None:
    lut = LookUpTable("", Function.LINEAR, center=2048, width=4096)
    upright, turned = CaseLuts(False, 0, (lut,)), CaseLuts(True, 0, (lut,))
    stored = np.array([-100, 0, 1000, 4095, 9000])
    np.testing.assert_allclose(turned.display(stored), 1 - upright.display(stored))
    np.testing.assert_allclose(turned.to_voi_units(stored), 1 - upright.to_voi_units(stored))
    np.testing.assert_allclose(turned.from_voi_units(turned.to_voi_units(stored)), stored, atol=1e-9)


def table(*values: int, dtype: Any = np.uint16) -> LookUpTable:
    return LookUpTable("", Function.TABLE, bits=16, values=np.array(values, dtype))


def window(function: Function, width: float, center: float = 0) -> LookUpTable:
    return LookUpTable("", function, center=center, width=width)


@pytest.mark.parametrize(
    ("lut", "possible"),
    [
        (window(Function.LINEAR, 1.5), True),
        (window(Function.LINEAR, 1), False),
        (window(Function.LINEAR, 0.5), False),
        (window(Function.LINEAR, -4), False),
        (window(Function.LINEAR_EXACT, 0.5), True),
        (window(Function.LINEAR_EXACT, 0), False),
        (window(Function.SIGMOID, 0.5), True),
        (window(Function.SIGMOID, -1), False),
        (window(Function.SIGMOID, float("nan")), False),
        (window(Function.LINEAR, float("inf")), False),
        (window(Function.LINEAR, 10, float("nan")), False),
        (table(0, 5, 5, 9), True),
        (table(0, 9, 5, 10), False),  # a dip, which unsigned differences hide
        (table(0, 9, 5, 10, dtype=np.int64), False),
        (table(9, 5, 0), False),
        (table(7, 7, 7), False),
        (table(7), False),
    ],
)
def test_what_can_be_a_base(lut: LookUpTable, possible: bool) -> None:
    assert bool(can_be_base(lut)) is possible


def test_full_range_spans_the_image() -> None:
    lut = full_range(100, 300)
    assert (lut.explanation, lut.function) == (FULL_RANGE, Function.LINEAR_EXACT)
    np.testing.assert_allclose(apply_lut(lut, [100, 150, 300]), [0, 0.25, 1])


@settings(max_examples=50, deadline=None)
@given(found=st.lists(luts, min_size=1, max_size=4), inverted=st.booleans())
def test_json_and_back(found: list[LookUpTable], inverted: bool) -> None:
    case = CaseLuts(inverted, len(found) - 1, tuple(found))
    again = CaseLuts.from_json(json.loads(json.dumps(case.to_json())))
    assert (again.inverted, again.base, len(again.luts)) == (inverted, case.base, len(found))
    stored = around(found[-1])
    np.testing.assert_array_equal(again.to_voi_units(stored), case.to_voi_units(stored))


@pytest.mark.parametrize(
    "entry", [{}, {"explanation": "", "function": "CUBIC"}, {"explanation": "", "function": "TABLE"}]
)
def test_json_that_is_no_table_is_an_error(entry: dict[str, Any]) -> None:
    with pytest.raises((KeyError, ValueError)):
        LookUpTable.from_json(entry)

"""The tabulated way from VOI units to gray against the exact one, and what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maseg_nnunet.training.lut_jitter import (
    WITHOUT_HEADER,
    JitteredLut,
    center_of,
    draw_lut,
    luts_of,
    random_gray,
    to_gray,
)
from maseg_nnunet.voi import CaseLuts, Function, LookUpTable, apply_lut

CURVE = (4095 / (1 + np.exp(-(np.arange(4096) - 2000) / 300))).astype(int)
NORMAL = {
    "linear": LookUpTable("NORMAL", Function.LINEAR, center=2000.0, width=1501.0),
    "exact": LookUpTable("NORMAL", Function.LINEAR_EXACT, center=2000.0, width=1500.0),
    "sigmoid": LookUpTable("NORMAL", Function.SIGMOID, center=2000.0, width=1500.0),
    "table": LookUpTable("NORMAL", Function.TABLE, first=0, bits=12, values=CURVE),
}
HARDER = {
    "linear": LookUpTable("HARDER", Function.LINEAR, center=2200.0, width=800.0),
    "exact": LookUpTable("HARDER", Function.LINEAR_EXACT, center=2200.0, width=2800.0),
    "sigmoid": LookUpTable("HARDER", Function.SIGMOID, center=1900.0, width=900.0),
    "table": LookUpTable("HARDER", Function.TABLE, first=300, bits=12, values=CURVE[500:3500]),
}
STORED = np.linspace(-200, 4500, 4701).reshape(1, -1)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("other", HARDER)
@pytest.mark.parametrize("base", NORMAL)
def test_gray_is_that_of_the_stored_value(base: str, other: str, inverted: bool) -> None:
    luts = CaseLuts(inverted, 0, (NORMAL[base], HARDER[other]))
    units = luts.to_voi_units(STORED).astype(np.float32)
    for lut, shift, stretch in ((luts.luts[0], 0.0, 1.0), (luts.luts[1], 0.0, 1.0), (luts.luts[1], 90.0, 0.95)):
        jittered = JitteredLut(lut, center_of(lut), shift, stretch)
        expected = luts.display(jittered.unjittered(luts.from_voi_units(units)), lut)
        gray = to_gray(units, luts, jittered)
        assert gray.dtype == np.float32 and gray.min() >= 0 and gray.max() <= 1
        # A table has kinks between the nodes, and all but flat stretches that a base can hardly be inverted on.
        tolerance = 5e-3 if "table" in (base, other) else 3e-4 if "sigmoid" in (base, other) else 1e-5
        assert np.abs(gray - expected).max() < tolerance
        assert np.abs(gray - expected).mean() < 2e-4


def test_window_is_moved_and_widened() -> None:
    luts = CaseLuts(False, 0, (NORMAL["exact"],))
    units = luts.to_voi_units(STORED).astype(np.float32)
    wider = LookUpTable("", Function.LINEAR_EXACT, center=2000.0 * 1.04, width=1500.0 * 0.97)
    gray = to_gray(units, luts, JitteredLut(NORMAL["exact"], 2000.0, 80.0, 0.97))
    assert np.abs(gray - apply_lut(wider, STORED)).max() < 1e-5


def test_threshold_window_is_a_threshold() -> None:
    threshold = LookUpTable("", Function.LINEAR, center=1000.0, width=1.0)
    luts = CaseLuts(False, 0, (NORMAL["exact"], threshold))
    units = luts.to_voi_units(np.array([[998.0, 999.0, 1000.0, 1001.0]])).astype(np.float32)
    assert np.allclose(to_gray(units, luts, JitteredLut(threshold, 1000.0)), [[0, 0, 1, 1]], atol=1e-2)


def test_center_of_a_table_is_where_it_crosses_one_half() -> None:
    assert center_of(NORMAL["table"]) == pytest.approx(2000, abs=2)
    falling = LookUpTable("", Function.TABLE, first=100, bits=8, values=np.arange(255, -1, -1))
    assert center_of(falling) == pytest.approx(100 + 127.5, abs=1)


def test_draws_every_table_and_jitters_within_bounds() -> None:
    luts = CaseLuts(False, 0, (NORMAL["linear"], HARDER["sigmoid"], HARDER["table"]))
    rng = np.random.default_rng(0)
    drawn = [draw_lut(luts, 0.05, rng) for _ in range(3000)]
    shares = np.array([sum(choice.lut is lut for choice in drawn) for lut in luts.luts]) / 3000
    assert np.abs(shares - 1 / 3).max() < 0.04
    moved = np.array([choice.shift / choice.center for choice in drawn])
    stretch = np.array([choice.stretch - 1 for choice in drawn])
    for values in (moved, stretch):
        assert 0.0495 < np.abs(values).max() <= 0.05
        assert values.std() == pytest.approx(0.05 / np.sqrt(3), rel=0.05)
    assert abs(np.corrcoef(moved, stretch)[0, 1]) < 0.06


@given(st.floats(-3, 4), st.integers(0, 2**32 - 1))
def test_without_a_header_the_normal_window_is_jittered(unit: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    gray = random_gray(np.full((2, 3), unit, dtype=np.float32), luts_of("absent", {}), 0.05, rng)
    low = np.clip((unit - 0.525) / (0.95 if unit < 0.525 else 1.05) + 0.5, 0, 1)
    high = np.clip((unit - 0.475) / (0.95 if unit > 0.475 else 1.05) + 0.5, 0, 1)
    assert low - 1e-5 <= gray.min() <= gray.max() <= high + 1e-5


def test_zero_jitter_without_header_is_the_clamp_of_inference() -> None:
    units = np.linspace(-1, 2, 50, dtype=np.float32).reshape(5, 10)
    assert np.allclose(random_gray(units, WITHOUT_HEADER, 0.0, np.random.default_rng()), units.clip(0, 1), atol=1e-6)

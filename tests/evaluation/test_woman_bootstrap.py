"""The bootstrap by woman: its standard errors, the coverage of its intervals, and few women."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from maseg_nnunet.evaluation.woman_bootstrap import WomanBootstrap, simultaneous
from tests.evaluation.helpers import cases_of


def test_one_image_a_woman_gives_the_standard_error_of_the_mean():
    """The sample's standard error is s / sqrt(n) with the divisor n - 1 in s; the draws vary with the divisor n."""
    values = np.random.default_rng(0).normal(size=60)
    bootstrap = WomanBootstrap(cases_of(values, [str(i) for i in range(60)]), draws=20_000)
    differences, errors = bootstrap.differences(values, [np.ones(60, bool)], [(0,)])
    assert errors[0, 0] == pytest.approx(stats.sem(values))
    assert differences[0, 0] == pytest.approx(values.mean())
    drawn = differences[1:, 0]
    assert drawn.std() == pytest.approx(values.std() / math.sqrt(60), rel=0.03)
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.005)


def test_two_data_sets_give_welch_s_standard_error():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=7), rng.normal(size=20)
    cases = pd.concat([cases_of(a, [str(i) for i in range(7)]), cases_of(b, [str(i) for i in range(20)], "ge")])
    of_a = np.arange(27) < 7
    differences, errors = WomanBootstrap(cases, draws=1).differences(np.r_[a, b], [of_a, ~of_a], [(0, 1)])
    assert differences[0, 0] == pytest.approx(a.mean() - b.mean())
    assert errors[0, 0] == pytest.approx(math.hypot(stats.sem(a), stats.sem(b)))


def test_the_error_of_every_draw_is_that_of_the_women_in_it():
    """Compare with the draw written out as a sample: each woman as often as she was drawn."""
    rng = np.random.default_rng(4)
    women = np.repeat(np.arange(6), 3)
    values, first = rng.normal(size=18), np.tile([True, False, False], 6)
    cases = cases_of(values, women.astype(str))
    bootstrap = WomanBootstrap(cases, draws=20)
    differences, errors = bootstrap.differences(values, [first, ~first], [(0, 1)])
    for draw in (3, 11):
        drawn = np.repeat(np.arange(6), bootstrap._weights[draw].astype(int))
        images = np.concatenate([np.flatnonzero(women == woman) for woman in drawn])
        again = cases_of(values[images], np.repeat(np.arange(6), 3).astype(str))
        expected = WomanBootstrap(again, draws=1).differences(values[images], [first, ~first], [(0, 1)])
        assert (differences[draw, 0], errors[draw, 0]) == pytest.approx((expected[0][0, 0], expected[1][0, 0]))


def test_the_interval_covers():
    """200 samples of 25 women with 4 images each: the 95% interval covers the true mean about as often as claimed."""
    rng = np.random.default_rng(7)
    women = np.repeat([f"w{i}" for i in range(25)], 4)
    everyone = [np.ones(100, bool)]
    bootstrap = WomanBootstrap(cases_of(np.zeros(100), women), draws=500)
    covered = 0
    for _ in range(200):
        values = np.repeat(rng.normal(0, 1, 25), 4) + rng.normal(0, 0.3, 100)
        low, high, _p = simultaneous(*bootstrap.differences(values, everyone, [(0,)]))
        covered += bool(low[0] < 0 < high[0])
    assert 0.90 <= covered / 200 <= 0.99


@pytest.mark.parametrize("count", [4, 6, 12])
def test_few_women_are_not_significant_by_chance(count):
    """Two groups that do not differ: the test rejects in about 5% of 300 samples, or fewer, even with few women."""
    rng = np.random.default_rng(count)
    women = np.repeat([f"w{i:02d}" for i in range(2 * count)], 2)
    first = np.arange(4 * count) < 2 * count
    cases = cases_of(np.zeros(4 * count), women).assign(dataset=np.where(first, "fuji", "ge"))
    bootstrap = WomanBootstrap(cases, draws=500)
    found = 0
    for _ in range(300):
        values = np.repeat(rng.normal(0, 1, 2 * count), 2) + rng.normal(0, 0.5, 4 * count)
        found += simultaneous(*bootstrap.differences(values, [first, ~first], [(0, 1)]))[2][0] < 0.05
    assert found / 300 < 0.08


def test_few_women_against_many():
    """The same with 3 women in one data set and 40 in another."""
    rng = np.random.default_rng(3)
    first = np.arange(43) < 3
    cases = cases_of(np.zeros(43), [f"w{i:02d}" for i in range(43)]).assign(dataset=np.where(first, "fuji", "ge"))
    bootstrap = WomanBootstrap(cases, draws=500)
    found = 0
    for _ in range(300):
        drawn = bootstrap.differences(rng.normal(0, 1, 43), [first, ~first], [(0, 1)])
        found += simultaneous(*drawn)[2][0] < 0.05
    assert found / 300 < 0.1


def test_women_of_the_same_name_in_two_data_sets_are_two():
    cases = pd.concat([cases_of([0.9, 0.8], ["1", "2"]), cases_of([0.9, 0.8], ["1", "2"], "ge")], ignore_index=True)
    assert WomanBootstrap(cases).women_in(np.ones(4, bool)) == 4

"""Comparisons of views, data sets and models: the paper's tests, and what the bootstrap by woman says about them."""

import math

import numpy as np
import pandas as pd
import pytest

from maseg_nnunet.evaluation.hypothesis_tests import paired_t
from maseg_nnunet.evaluation.significance import compare_datasets, compare_models, compare_pairs, compare_views
from tests.evaluation.helpers import cases_of


def test_copies_of_an_image_add_nothing():
    """With four copies of each image, the t-test's p shrinks but the interval by woman stays the same."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.90, 0.05, 15), rng.normal(0.93, 0.05, 15)
    results = []
    for copies in (1, 4):
        both = [
            cases_of(np.repeat(a, copies), np.repeat([f"a{i}" for i in range(15)], copies)),
            cases_of(np.repeat(b, copies), np.repeat([f"b{i}" for i in range(15)], copies), view="CC"),
        ]
        results.append(compare_views(pd.concat(both, ignore_index=True))[0])
    once, four = results
    assert (four.low, four.high, four.p_by_woman) == pytest.approx((once.low, once.high, once.p_by_woman))
    assert four.p < once.p / 5
    assert once.women == four.women == 30


def test_images_of_the_same_women_in_both_groups(views):
    """Women differ by 0.05, views by 0.01: only the bootstrap, which keeps a woman's images together, detects that."""
    (overall, _) = compare_views(views)
    assert overall.what == "MLO – CC" and overall.test == "unpaired t-test" and overall.n == (40, 40)
    assert overall.difference == pytest.approx(-0.01, abs=0.004)
    assert overall.p > 0.2
    assert overall.p_by_woman < 0.01
    assert overall.low < overall.difference < overall.high < 0


def test_a_draw_of_one_woman_from_each_data_set_has_no_error():
    """Data sets of 2 and 3 women are too small for an interval; rounding errors must not count as a standard error."""
    for seed in range(6):
        scores = np.random.default_rng(seed).uniform(0.9, 1, 5)
        joined = pd.concat([cases_of(scores[:2], ["a", "b"]), cases_of(scores[2:], ["a", "b", "c"], "ge")])
        joined = joined.assign(dice_overall_second=0.93, dice_breast_second=0.93, dice_pectoral_second=math.nan)
        assert math.isnan(compare_pairs(joined, "processed images")[0].p_by_woman)


def test_two_women_are_too_few():
    """Half of all draws have only one of them."""
    joined = cases_of([0.90, 0.92], ["a", "b"])
    joined = joined.assign(dice_overall_second=0.8, dice_breast_second=0.8, dice_pectoral_second=math.nan)
    overall = compare_pairs(joined, "processed images")[0]
    assert overall.p < 0.1 and overall.difference == pytest.approx(0.11)
    assert np.isnan([overall.low, overall.high, overall.p_by_woman]).all()


def test_a_small_data_set_does_not_widen_the_intervals_of_others():
    rng = np.random.default_rng(6)
    large = [cases_of(rng.normal(mean, 0.03, 40), [f"w{i}" for i in range(40)], key)
             for key, mean in (("fuji", 0.90), ("ge", 0.93))]  # fmt: skip
    small = cases_of(rng.normal(0.9, 0.03, 3), ["a", "b", "c"], "siemens")
    (two,) = (c for c in compare_datasets(pd.concat(large, ignore_index=True)) if c.score == "overall")
    three = {c.what: c for c in compare_datasets(pd.concat([*large, small], ignore_index=True))
             if c.score == "overall"}  # fmt: skip
    assert three["Fuji – GE"].high - three["Fuji – GE"].low < 1.3 * (two.high - two.low)
    assert three["Fuji – Siemens"].high - three["Fuji – Siemens"].low > 5 * (two.high - two.low)


def test_data_sets(views):
    """Three data sets, one of them 0.1 lower: ANOVA, Tukey's HSD and the bootstrap agree on which pairs differ."""
    rng = np.random.default_rng(5)
    parts = [
        cases_of(rng.normal(mean, 0.03, 30), [f"w{i // 2}" for i in range(30)], key)
        for key, mean in (("mini_mias", 0.86), ("fuji", 0.96), ("ge", 0.96))
    ]
    results = [c for c in compare_datasets(pd.concat(parts, ignore_index=True)) if c.score == "overall"]
    assert [c.what for c in results] == ["All datasets", "Fuji – GE", "Fuji – Mini-MIAS", "GE – Mini-MIAS"]
    assert [c.test for c in results] == ["one-way ANOVA", "Tukey", "Tukey", "Tukey"]
    everything, same, *apart = results
    assert everything.p < 1e-6 and everything.p_by_woman < 0.001 and everything.women == 45
    assert same.p > 0.05 and same.p_by_woman > 0.05 and same.low < 0 < same.high
    for pair in apart:
        assert pair.p < 0.001 and pair.p_by_woman < 0.001 and pair.low > 0


@pytest.mark.parametrize("women", [1, 2])
def test_a_group_of_one_or_two_women_has_no_interval(women):
    """Their twenty images vary, but say too little about other women."""
    rng = np.random.default_rng(3)
    one = cases_of(rng.normal(0.8, 0.03, 20), [f"w{i % women}" for i in range(20)])
    many = cases_of(rng.normal(0.9, 0.03, 25), [f"v{i}" for i in range(25)], view="CC")
    (overall, _) = compare_views(pd.concat([one, many], ignore_index=True))
    assert overall.p < 0.001
    assert np.isnan([overall.low, overall.high, overall.p_by_woman]).all()


def test_a_data_set_of_one_image_does_not_prevent_the_tests_of_others():
    rng = np.random.default_rng(5)
    sets = [cases_of(rng.normal(mean, 0.03, 30), [f"w{i}" for i in range(30)], key)
            for mean, key in ((0.9, "fuji"), (0.9, "ge"), (0.8, "siemens"))]  # fmt: skip
    alone = cases_of(np.array([0.5]), ["w0"], "hologic")
    without = compare_datasets(pd.concat(sets, ignore_index=True))
    found = compare_datasets(pd.concat([*sets, alone], ignore_index=True))
    assert (found[0].n, found[0].p) == ((30, 30, 30), without[0].p)
    p = {c.what: c.p for c in found if c.score == "overall"}
    assert p["Fuji – Siemens"] == next(c.p for c in without if c.what == "Fuji – Siemens" and c.score == "overall")
    assert np.isnan([p[f"Hologic – {name}"] for name in ("Fuji", "GE", "Siemens")]).all()


def test_models_on_the_same_cases(views):
    better = views.assign(dice_overall=views["dice_overall"] + 0.02 * (np.arange(len(views)) % 2))
    (overall, *_rest) = compare_models(views, better.sample(frac=1, random_state=0))
    assert (overall.what, overall.test, overall.n) == ("processed images", "paired t-test", (80,))
    assert overall.difference == pytest.approx(-0.01)
    assert overall.p == pytest.approx(paired_t(views["dice_overall"], better["dice_overall"])[1])
    assert overall.high < 0


def test_raw_images_are_compared_apart(views):
    raw = views.assign(intent="raw", case=views["case"] + "_raw")
    both = pd.concat([views, raw], ignore_index=True)
    loss = 0.3 * (both["intent"] == "raw") * (0.9 + both.index % 3 / 10)
    worse = both.assign(dice_overall=both["dice_overall"] - loss)
    results = [c for c in compare_models(both, worse) if c.score == "overall"]
    assert [c.what for c in results] == ["processed images", "raw images"]
    assert math.isnan(results[0].p) and results[1].p < 1e-6


def test_one_group_is_no_comparison(views):
    assert compare_datasets(views) == []
    assert compare_views(views[views["view"] == "CC"]) == []

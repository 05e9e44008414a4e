"""The paper's tests against R's documented examples; the bootstrap by woman against what it must do."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from maseg_nnunet.evaluation import significance as tests
from maseg_nnunet.evaluation.significance import WomanBootstrap

# R's data set `sleep` (Student's own example): hours gained with two drugs by the same ten patients.
SLEEP = (
    [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
)
# R's data set `PlantGrowth`: dried weight under a control and two treatments.
PLANTS = (
    np.array([4.17, 5.58, 5.18, 6.11, 4.50, 4.61, 5.17, 4.53, 5.33, 5.14]),
    np.array([4.81, 4.17, 4.41, 3.59, 5.87, 3.83, 6.03, 4.89, 4.32, 4.69]),
    np.array([6.31, 5.12, 5.54, 5.50, 5.37, 5.29, 4.92, 6.15, 5.80, 5.26]),
)


def test_unpaired_t_as_r():
    """t.test(extra ~ group, sleep, var.equal = TRUE): t = -1.8608, df = 18, p-value = 0.07919."""
    t, p = tests.unpaired_t(*SLEEP)
    assert t == pytest.approx(-1.8608, abs=5e-5)
    assert p == pytest.approx(0.07919, abs=5e-6)


def test_paired_t_as_r():
    """t.test(..., paired = TRUE) of the same: t = -4.0621, df = 9, p-value = 0.002833."""
    t, p = tests.paired_t(*SLEEP)
    assert t == pytest.approx(-4.0621, abs=5e-5)
    assert p == pytest.approx(0.002833, abs=5e-7)


def test_anova_as_r():
    """anova(lm(weight ~ group, PlantGrowth)): F value 4.8461, Pr(>F) 0.01591."""
    f, p = tests.anova(PLANTS)
    assert f == pytest.approx(4.8461, abs=5e-5)
    assert p == pytest.approx(0.01591, abs=5e-6)


def test_tukey_as_r():
    """TukeyHSD(aov(weight ~ group, PlantGrowth)): p adj 0.3908711, 0.1979960, 0.0120064."""
    p = tests.tukey(PLANTS)
    assert p[1, 0] == pytest.approx(0.3908711, abs=1e-4)
    assert p[2, 0] == pytest.approx(0.1979960, abs=1e-4)
    assert p[2, 1] == pytest.approx(0.0120064, abs=1e-4)


def test_tests_that_cannot_be_made():
    assert all(math.isnan(value) for value in tests.unpaired_t([1.0], [1.0, 2.0]))
    assert all(math.isnan(value) for value in tests.unpaired_t([1.0, 1.0], [1.0, 1.0]))
    assert all(math.isnan(value) for value in tests.paired_t([1.0, 2.0], [0.5, 1.5]))
    assert all(math.isnan(value) for value in tests.anova([np.ones(3), np.ones(1)]))
    assert np.isnan(tests.tukey([np.ones(3), np.ones(3), np.ones(3)])).all()
    assert tests.unpaired_t([1.0, 1.0], [0.5, 0.6])[1] < 0.05


def cases_of(scores, women, dataset="fuji", view="MLO"):
    frame = pd.DataFrame({"dice_overall": scores, "woman": women})
    return frame.assign(
        case=[f"{dataset}{view}{i}" for i in range(len(frame))], dataset=dataset, view=view, vendor="x",
        intent="processed", dice_breast=frame["dice_overall"], dice_pectoral=math.nan, muscle_scored=True, twin="",
    )  # fmt: skip


@pytest.fixture
def views():
    """Forty women with one MLO and one CC image each; a woman's two images share most of their score."""
    rng = np.random.default_rng(3)
    woman = rng.normal(0.9, 0.05, 40)
    names = [f"w{i:02d}" for i in range(40)]
    return pd.concat(
        [
            cases_of(woman + rng.normal(0, 0.005, 40), names),
            cases_of(woman + 0.01 + rng.normal(0, 0.005, 40), names, view="CC"),
        ],
        ignore_index=True,
    )


def test_one_image_a_woman_gives_the_standard_error_of_the_mean():
    """The sample's is s / sqrt(n), s with the divisor n - 1; the bootstrap's spread has the divisor n."""
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
    """Against the draw written out: its women as a sample of their own."""
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


def test_copies_of_an_image_add_nothing():
    """Four copies of each woman's image: the t-test's p shrinks, the interval by woman stays as it was."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.90, 0.05, 15), rng.normal(0.93, 0.05, 15)
    results = []
    for copies in (1, 4):
        both = [
            cases_of(np.repeat(a, copies), np.repeat([f"a{i}" for i in range(15)], copies)),
            cases_of(np.repeat(b, copies), np.repeat([f"b{i}" for i in range(15)], copies), view="CC"),
        ]
        results.append(tests.compare_views(pd.concat(both, ignore_index=True))[0])
    once, four = results
    assert (four.low, four.high, four.p_by_woman) == pytest.approx((once.low, once.high, once.p_by_woman))
    assert four.p < once.p / 5
    assert once.women == four.women == 30


def test_images_of_the_same_women_in_both_groups(views):
    """Women differ by 0.05, views by 0.01: drawn as pairs the difference shows, taken as independent it does not."""
    (overall, _) = tests.compare_views(views)
    assert overall.what == "MLO – CC" and overall.test == "unpaired t-test" and overall.n == (40, 40)
    assert overall.difference == pytest.approx(-0.01, abs=0.004)
    assert overall.p > 0.2
    assert overall.p_by_woman < 0.01
    assert overall.low < overall.difference < overall.high < 0


def test_the_interval_covers():
    """200 samples of 25 women with 4 images each: the 95 % interval holds the truth about as often as it says."""
    rng = np.random.default_rng(7)
    women = np.repeat([f"w{i}" for i in range(25)], 4)
    everyone = [np.ones(100, bool)]
    bootstrap = WomanBootstrap(cases_of(np.zeros(100), women), draws=500)
    covered = 0
    for _ in range(200):
        values = np.repeat(rng.normal(0, 1, 25), 4) + rng.normal(0, 0.3, 100)
        low, high, _p = tests.simultaneous(*bootstrap.differences(values, everyone, [(0,)]))
        covered += bool(low[0] < 0 < high[0])
    assert 0.90 <= covered / 200 <= 0.99


@pytest.mark.parametrize("count", [4, 6, 12])
def test_few_women_are_not_significant_by_chance(count):
    """Two groups that do not differ: p is below 0.05 in about a twentieth of 300 samples, or less, however few."""
    rng = np.random.default_rng(count)
    women = np.repeat([f"w{i:02d}" for i in range(2 * count)], 2)
    first = np.arange(4 * count) < 2 * count
    cases = cases_of(np.zeros(4 * count), women).assign(dataset=np.where(first, "fuji", "ge"))
    bootstrap = WomanBootstrap(cases, draws=500)
    found = 0
    for _ in range(300):
        values = np.repeat(rng.normal(0, 1, 2 * count), 2) + rng.normal(0, 0.5, 4 * count)
        found += tests.simultaneous(*bootstrap.differences(values, [first, ~first], [(0, 1)]))[2][0] < 0.05
    assert found / 300 < 0.08


def test_few_women_against_many():
    """As above, 3 women of one data set and 40 of another."""
    rng = np.random.default_rng(3)
    first = np.arange(43) < 3
    cases = cases_of(np.zeros(43), [f"w{i:02d}" for i in range(43)]).assign(dataset=np.where(first, "fuji", "ge"))
    bootstrap = WomanBootstrap(cases, draws=500)
    found = 0
    for _ in range(300):
        drawn = bootstrap.differences(rng.normal(0, 1, 43), [first, ~first], [(0, 1)])
        found += tests.simultaneous(*drawn)[2][0] < 0.05
    assert found / 300 < 0.1


def test_a_draw_of_one_woman_from_each_data_set_has_no_error():
    """Rounding is none: data sets of 2 and 3 women are too small for an interval, whatever their scores."""
    for seed in range(6):
        scores = np.random.default_rng(seed).uniform(0.9, 1, 5)
        joined = pd.concat([cases_of(scores[:2], ["a", "b"]), cases_of(scores[2:], ["a", "b", "c"], "ge")])
        joined = joined.assign(dice_overall_second=0.93, dice_breast_second=0.93, dice_pectoral_second=math.nan)
        assert math.isnan(tests.compare_pairs(joined, "processed images")[0].p_by_woman)


def test_two_women_tell_nothing():
    """Alike as they are, half of all draws hold one of them alone."""
    joined = cases_of([0.90, 0.92], ["a", "b"])
    joined = joined.assign(dice_overall_second=0.8, dice_breast_second=0.8, dice_pectoral_second=math.nan)
    overall = tests.compare_pairs(joined, "processed images")[0]
    assert overall.p < 0.1 and overall.difference == pytest.approx(0.11)
    assert np.isnan([overall.low, overall.high, overall.p_by_woman]).all()


def test_a_small_data_set_widens_no_other_s_interval():
    rng = np.random.default_rng(6)
    large = [cases_of(rng.normal(mean, 0.03, 40), [f"w{i}" for i in range(40)], key)
             for key, mean in (("fuji", 0.90), ("ge", 0.93))]  # fmt: skip
    small = cases_of(rng.normal(0.9, 0.03, 3), ["a", "b", "c"], "siemens")
    (two,) = (c for c in tests.compare_datasets(pd.concat(large, ignore_index=True)) if c.score == "overall")
    three = {c.what: c for c in tests.compare_datasets(pd.concat([*large, small], ignore_index=True))
             if c.score == "overall"}  # fmt: skip
    assert three["Fuji – GE"].high - three["Fuji – GE"].low < 1.3 * (two.high - two.low)
    assert three["Fuji – Siemens"].high - three["Fuji – Siemens"].low > 5 * (two.high - two.low)


def test_data_sets(views):
    """Three data sets, one of them 0.1 lower: ANOVA and Tukey as by SciPy, and the bootstrap agrees on which pairs."""
    rng = np.random.default_rng(5)
    parts = [
        cases_of(rng.normal(mean, 0.03, 30), [f"w{i // 2}" for i in range(30)], key)
        for key, mean in (("mini_mias", 0.86), ("fuji", 0.96), ("ge", 0.96))
    ]
    results = [c for c in tests.compare_datasets(pd.concat(parts, ignore_index=True)) if c.score == "overall"]
    assert [c.what for c in results] == ["All datasets", "Fuji – GE", "Fuji – Mini-MIAS", "GE – Mini-MIAS"]
    assert [c.test for c in results] == ["one-way ANOVA", "Tukey", "Tukey", "Tukey"]
    everything, same, *apart = results
    assert everything.p < 1e-6 and everything.p_by_woman < 0.001 and everything.women == 45
    assert same.p > 0.05 and same.p_by_woman > 0.05 and same.low < 0 < same.high
    for pair in apart:
        assert pair.p < 0.001 and pair.p_by_woman < 0.001 and pair.low > 0


@pytest.mark.parametrize("women", [1, 2])
def test_a_group_of_one_or_two_women_has_no_interval(women):
    """Twenty images of them vary, but what another woman's would be is not known."""
    rng = np.random.default_rng(3)
    one = cases_of(rng.normal(0.8, 0.03, 20), [f"w{i % women}" for i in range(20)])
    many = cases_of(rng.normal(0.9, 0.03, 25), [f"v{i}" for i in range(25)], view="CC")
    (overall, _) = tests.compare_views(pd.concat([one, many], ignore_index=True))
    assert overall.p < 0.001
    assert np.isnan([overall.low, overall.high, overall.p_by_woman]).all()


def test_a_data_set_of_one_image_leaves_the_others_their_tests():
    rng = np.random.default_rng(5)
    sets = [cases_of(rng.normal(mean, 0.03, 30), [f"w{i}" for i in range(30)], key)
            for mean, key in ((0.9, "fuji"), (0.9, "ge"), (0.8, "siemens"))]  # fmt: skip
    alone = cases_of(np.array([0.5]), ["w0"], "hologic")
    without = tests.compare_datasets(pd.concat(sets, ignore_index=True))
    found = tests.compare_datasets(pd.concat([*sets, alone], ignore_index=True))
    assert (found[0].n, found[0].p) == ((30, 30, 30), without[0].p)
    p = {c.what: c.p for c in found if c.score == "overall"}
    assert p["Fuji – Siemens"] == next(c.p for c in without if c.what == "Fuji – Siemens" and c.score == "overall")
    assert np.isnan([p[f"Hologic – {name}"] for name in ("Fuji", "GE", "Siemens")]).all()


def test_women_of_the_same_name_in_two_data_sets_are_two():
    cases = pd.concat([cases_of([0.9, 0.8], ["1", "2"]), cases_of([0.9, 0.8], ["1", "2"], "ge")], ignore_index=True)
    assert WomanBootstrap(cases).women_in(np.ones(4, bool)) == 4


def test_models_on_the_same_cases(views):
    better = views.assign(dice_overall=views["dice_overall"] + 0.02 * (np.arange(len(views)) % 2))
    (overall, *_rest) = tests.compare_models(views, better.sample(frac=1, random_state=0))
    assert (overall.what, overall.test, overall.n) == ("processed images", "paired t-test", (80,))
    assert overall.difference == pytest.approx(-0.01)
    assert overall.p == pytest.approx(tests.paired_t(views["dice_overall"], better["dice_overall"])[1])
    assert overall.high < 0


def test_raw_images_are_compared_apart(views):
    raw = views.assign(intent="raw", case=views["case"] + "_raw")
    both = pd.concat([views, raw], ignore_index=True)
    loss = 0.3 * (both["intent"] == "raw") * (0.9 + both.index % 3 / 10)
    worse = both.assign(dice_overall=both["dice_overall"] - loss)
    results = [c for c in tests.compare_models(both, worse) if c.score == "overall"]
    assert [c.what for c in results] == ["processed images", "raw images"]
    assert math.isnan(results[0].p) and results[1].p < 1e-6


def test_one_group_is_no_comparison(views):
    assert tests.compare_datasets(views) == []
    assert tests.compare_views(views[views["view"] == "CC"]) == []


def test_the_table_sets_the_papers_p_beside_ours(views):
    table = tests.tests_table(tests.compare_views(views))
    assert table.frame["p, paper"].tolist() == ["<0.001", "<0.001"]
    assert table.frame["95 % interval by woman"][0].count("−") == 2

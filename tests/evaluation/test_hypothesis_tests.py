"""The paper's tests against R's documented examples."""

import math

import numpy as np
import pytest

from maseg_nnunet.evaluation.hypothesis_tests import anova, paired_t, tukey, unpaired_t

# R's data set `sleep` (Student's own example): extra hours of sleep of the same ten patients with two drugs.
SLEEP = (
    [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
)
# R's data set `PlantGrowth`: dried weight of plants with a control and two treatments.
PLANTS = (
    np.array([4.17, 5.58, 5.18, 6.11, 4.50, 4.61, 5.17, 4.53, 5.33, 5.14]),
    np.array([4.81, 4.17, 4.41, 3.59, 5.87, 3.83, 6.03, 4.89, 4.32, 4.69]),
    np.array([6.31, 5.12, 5.54, 5.50, 5.37, 5.29, 4.92, 6.15, 5.80, 5.26]),
)


def test_unpaired_t_as_r():
    """t.test(extra ~ group, sleep, var.equal = TRUE): t = -1.8608, df = 18, p-value = 0.07919."""
    t, p = unpaired_t(*SLEEP)
    assert t == pytest.approx(-1.8608, abs=5e-5)
    assert p == pytest.approx(0.07919, abs=5e-6)


def test_paired_t_as_r():
    """t.test(..., paired = TRUE) with the same data: t = -4.0621, df = 9, p-value = 0.002833."""
    t, p = paired_t(*SLEEP)
    assert t == pytest.approx(-4.0621, abs=5e-5)
    assert p == pytest.approx(0.002833, abs=5e-7)


def test_anova_as_r():
    """anova(lm(weight ~ group, PlantGrowth)): F value 4.8461, Pr(>F) 0.01591."""
    f, p = anova(PLANTS)
    assert f == pytest.approx(4.8461, abs=5e-5)
    assert p == pytest.approx(0.01591, abs=5e-6)


def test_tukey_as_r():
    """TukeyHSD(aov(weight ~ group, PlantGrowth)): p adj 0.3908711, 0.1979960, 0.0120064."""
    p = tukey(PLANTS)
    assert p[1, 0] == pytest.approx(0.3908711, abs=1e-4)
    assert p[2, 0] == pytest.approx(0.1979960, abs=1e-4)
    assert p[2, 1] == pytest.approx(0.0120064, abs=1e-4)


def test_undefined_tests_give_nan():
    assert all(math.isnan(value) for value in unpaired_t([1.0], [1.0, 2.0]))
    assert all(math.isnan(value) for value in unpaired_t([1.0, 1.0], [1.0, 1.0]))
    assert all(math.isnan(value) for value in paired_t([1.0, 2.0], [0.5, 1.5]))
    assert all(math.isnan(value) for value in anova([np.ones(3), np.ones(1)]))
    assert np.isnan(tukey([np.ones(3), np.ones(3), np.ones(3)])).all()
    assert unpaired_t([1.0, 1.0], [0.5, 0.6])[1] < 0.05

"""The paper's hypothesis tests (section 2.3): t-tests, one-way ANOVA and Tukey's HSD, by SciPy.

They treat images as independent. `woman_bootstrap.py` has the test that does not. If a test is undefined, for example
for a group of one image, the result is NaN, not an exception.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from scipy import stats

from maseg_nnunet.arrays import FloatArray


def unpaired_t(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[float, float]:
    """Student's two-sided t-test of two independent samples with equal variances (`scipy.stats.ttest_ind`).

    Returns:
        (t, p). Both are NaN if a sample has fewer than two values, or if neither sample varies.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if min(len(a), len(b)) < 2 or (np.ptp(a) == 0 and np.ptp(b) == 0):
        return math.nan, math.nan
    with _constant_groups_allowed():
        result = stats.ttest_ind(a, b)
    return float(result.statistic), float(result.pvalue)


def paired_t(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[float, float]:
    """Two-sided t-test of two related samples (`scipy.stats.ttest_rel`).

    Returns:
        (t, p). Both are NaN if there are fewer than two pairs, or if all differences are equal.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if len(a) < 2 or np.ptp(a - b) == 0:
        return math.nan, math.nan
    with _constant_groups_allowed():
        result = stats.ttest_rel(a, b)
    return float(result.statistic), float(result.pvalue)


def anova(groups: Sequence[FloatArray]) -> tuple[float, float]:
    """One-way analysis of variance (`scipy.stats.f_oneway`).

    Returns:
        (F, p). Both are NaN if there are fewer than two groups, if a group has fewer than two values, or if no group
        varies.
    """
    if len(groups) < 2 or any(len(group) < 2 for group in groups) or all(np.ptp(group) == 0 for group in groups):
        return math.nan, math.nan
    with _constant_groups_allowed():
        result = stats.f_oneway(*groups)
    return float(result.statistic), float(result.pvalue)


def tukey(groups: Sequence[FloatArray]) -> FloatArray:
    """Tukey's honestly significant difference (HSD) test of all pairs of k groups (`scipy.stats.tukey_hsd`).

    Returns:
        p-values, shape (k, k). All are NaN if `anova` is undefined for the groups.
    """
    if math.isnan(anova(groups)[1]):
        return np.full((len(groups), len(groups)), math.nan)
    with _constant_groups_allowed():
        return np.asarray(stats.tukey_hsd(*groups).pvalue, dtype=np.float64)


@contextmanager
def _constant_groups_allowed() -> Iterator[None]:
    """Silence SciPy's warning about nearly constant groups: the tests still hold.

    A class that is segmented perfectly in all images is such a group.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield

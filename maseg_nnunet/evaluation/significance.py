"""Tests between groups of cases: the paper's (section 2.3), and beside each a sound one for several images of a woman.

The paper's t-tests and analysis of variance take every image as independent; images of one woman are not, so their
p-values are too small. The second opinion resamples women, never images (cluster bootstrap): within each data set as
many women as it has are drawn with replacement, each with all her images. It is studentized: every draw's difference is
divided by that draw's own standard error, because among few women the error itself is uncertain (with a constant one,
a test of three women at 0.05 was wrong in a third of all samples). Intervals and p-values are simultaneous over the
pairs of one family, the bootstrap's counterpart of Tukey's method.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from maseg_nnunet.arrays import FloatArray
from maseg_nnunet.evaluation import published
from maseg_nnunet.evaluation.tables import ReportTable, p_text, with_groups
from maseg_nnunet.mammogram import Intent

if TYPE_CHECKING:
    import pandas as pd

SCORES: Final = {"overall": "dice_overall", "breast": "dice_breast", "pectoral": "dice_pectoral"}

SIGNIFICANCE: Final = 0.05

_DRAWS: Final = 10_000

_FEWEST: Final = 3
"""Women of a group. Half of all draws hold one of two alone, who does not vary, while the other group still does: a
test of 2 women against 40 at 0.05 was wrong in a sixth of all samples, of 3 in a fifteenth."""

_NOTHING: Final = 1e-12
"""A standard error that is rounding alone."""


@dataclass(frozen=True)
class Comparison:
    """One comparison of mean scores.

    `difference`: of the means, NaN for an analysis of variance. `statistic` and `p`: of the paper's test, NaN where it
    can't be made (a group of fewer than two images, or no spread at all). `low`, `high` (95 %) and `p_by_woman`: of
    the bootstrap by woman, NaN where there are too few women to tell.
    """

    what: str
    score: str
    test: str
    n: tuple[int, ...]
    women: int
    difference: float
    statistic: float
    p: float
    low: float
    high: float
    p_by_woman: float


def unpaired_t(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[float, float]:
    """(t, p) of Student's two-sided t-test with equal variances, SciPy's default; NaN where it can't be made."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if min(len(a), len(b)) < 2 or (np.ptp(a) == 0 and np.ptp(b) == 0):
        return math.nan, math.nan
    with _constant_groups_allowed():
        result = stats.ttest_ind(a, b)
    return float(result.statistic), float(result.pvalue)


def paired_t(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[float, float]:
    """(t, p) of the two-sided paired t-test; NaN where it can't be made, which includes equal differences."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if len(a) < 2 or np.ptp(a - b) == 0:
        return math.nan, math.nan
    with _constant_groups_allowed():
        result = stats.ttest_rel(a, b)
    return float(result.statistic), float(result.pvalue)


def anova(groups: Sequence[FloatArray]) -> tuple[float, float]:
    """(F, p) of the one-way analysis of variance; NaN where it can't be made."""
    if len(groups) < 2 or any(len(group) < 2 for group in groups) or all(np.ptp(group) == 0 for group in groups):
        return math.nan, math.nan
    with _constant_groups_allowed():
        result = stats.f_oneway(*groups)
    return float(result.statistic), float(result.pvalue)


def tukey(groups: Sequence[FloatArray]) -> FloatArray:
    """p of Tukey's honestly significant difference for each pair of groups, (k, k); NaN where it can't be made."""
    if math.isnan(anova(groups)[1]):
        return np.full((len(groups), len(groups)), math.nan)
    with _constant_groups_allowed():
        return np.asarray(stats.tukey_hsd(*groups).pvalue, dtype=np.float64)


@contextmanager
def _constant_groups_allowed() -> Iterator[None]:
    """SciPy warns of nearly constant groups, such as a class found perfectly everywhere; the tests still hold."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


class WomanBootstrap:
    """Differences between groups of images when women are drawn anew, within their data set.

    `cases`: columns dataset and woman. The draws depend on `seed` and on the women alone, so that every score and every
    comparison of the same cases sees the same women. Of a data set with a single woman nothing varies.
    """

    def __init__(self, cases: pd.DataFrame, draws: int = _DRAWS, seed: int = 0) -> None:
        self._woman = cases.groupby(["dataset", "woman"]).ngroup().to_numpy()
        _, first = np.unique(self._woman, return_index=True)
        sets = cases["dataset"].to_numpy(dtype=str)[first]
        self._members = [np.flatnonzero(sets == dataset) for dataset in np.unique(sets)]
        rng = np.random.default_rng(seed)
        # How often each woman is in each draw; the first row is the sample itself.
        self._weights = np.ones((1 + draws, len(sets)))
        for members in self._members:
            n = len(members)
            self._weights[1:, members] = rng.multinomial(n, np.full(n, 1 / n), draws)

    def differences(
        self,
        values: FloatArray,
        groups: Sequence[npt.NDArray[np.bool_]],
        pairs: Sequence[tuple[int, ...]],
    ) -> tuple[FloatArray, FloatArray]:
        """(differences, standard errors) of the means of `values` (n images, NaN left out), each (1 + draws, pairs).

        `groups`: n booleans each; `pairs`: the indices of two of them, the second's mean is subtracted, or of one. The
        first row is of the sample, the others of the draws; NaN where a draw has no image of a group. Errors: of a
        ratio of sums over clusters within strata, by linearization (Wolter, Introduction to Variance Estimation, 6.3).
        """
        present = ~np.isnan(values)
        count = self._weights.shape[1]
        sums = np.array([np.bincount(self._woman[g & present], values[g & present], count) for g in groups])
        numbers = np.array([np.bincount(self._woman[g & present], minlength=count) for g in groups], dtype=float)
        results = np.empty((2, len(self._weights), len(pairs)))
        with np.errstate(invalid="ignore", divide="ignore"):
            totals = self._weights @ numbers.T
            means = self._weights @ sums.T / totals
            for k, pair in enumerate(pairs):
                signed = tuple(zip(pair, (1, -1), strict=False))
                results[0, :, k] = sum(sign * means[:, g] for g, sign in signed)
                variance = np.zeros(len(means))
                for members in self._members:
                    n = len(members)
                    some = members[numbers[list(pair)][:, members].any(axis=0)]
                    # What one woman adds to the difference.
                    each = sum(
                        sign * (sums[g, some] - means[:, g, None] * numbers[g, some]) / totals[:, g, None]
                        for g, sign in signed
                    )
                    weights = self._weights[:, some]
                    mean = (weights * each).sum(axis=1) / n  # of the data set's women, who add nothing but for `some`
                    spread = (weights * (each - mean[:, None]) ** 2).sum(axis=1)
                    spread += (n - weights.sum(axis=1)) * mean**2
                    variance += spread * n / max(1, n - 1)
                results[1, :, k] = np.sqrt(variance)
        return results[0], results[1]

    def women_in(self, chosen: npt.NDArray[np.bool_]) -> int:
        """Number of women with an image among `chosen`."""
        return len(np.unique(self._woman[chosen]))


def simultaneous(
    differences: FloatArray, errors: FloatArray, level: float = 1 - SIGNIFICANCE
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(low, high, p), m each, of what `WomanBootstrap.differences` gives (1 + draws, m), all m at once.

    Each difference is judged by the tail of its own |t|, so that one of few women makes no other's interval wider
    (Beran 1988; the least p of all m, Westfall and Young 1993). NaN where nothing varies, and where too many draws hold
    a single woman for any limit to be known.
    """
    observed, error = differences[0], errors[0]
    low, high, p = (np.full(len(observed), math.nan) for _ in range(3))
    varies = np.flatnonzero(error > _NOTHING)
    if not varies.size:
        return low, high, p
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.abs(differences[1:, varies] - observed[varies]) / errors[1:, varies]
    t[~(errors[1:, varies] > _NOTHING)] = math.inf
    share = stats.rankdata(-t, method="max", axis=0) / len(t)
    least = share.min(axis=1)
    tail = float(np.quantile(least, 1 - level, method="lower"))
    for k, place in enumerate(varies):
        half = float(np.quantile(t[:, k], 1 - tail, method="higher")) * error[place]
        if math.isinf(half):
            continue
        low[place], high[place] = observed[place] - half, observed[place] + half
        own = np.mean(t[:, k] >= abs(observed[place]) / error[place])
        p[place] = (1 + np.count_nonzero(least <= own)) / (1 + len(t))
    return low, high, p


def compare_groups(cases: pd.DataFrame, groups: pd.Series[str], family: str) -> list[Comparison]:
    """Mean scores of two or more groups of images; `groups`: the group of each case, in the order of appearance.

    Two groups: the unpaired t-test. More: one-way analysis of variance, named `family`, and Tukey for every pair.
    """
    names = groups.drop_duplicates().tolist()
    if len(names) < 2:
        return []
    bootstrap = WomanBootstrap(cases)
    members = [(groups == name).to_numpy() for name in names]
    results = []
    for score, column in SCORES.items():
        values = cases[column].to_numpy(dtype=float)
        kept = [(name, member) for name, member in zip(names, members, strict=True) if _count(values, member)]
        if len(kept) >= 2:
            results += _compare_score(score, values, kept, bootstrap, family)
    return results


def _count(values: FloatArray, member: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(member & ~np.isnan(values)))


def _compare_score(
    score: str,
    values: FloatArray,
    groups: list[tuple[str, npt.NDArray[np.bool_]]],
    bootstrap: WomanBootstrap,
    family: str,
) -> list[Comparison]:
    present = ~np.isnan(values)
    samples = [values[member & present] for _, member in groups]
    pairs = list(combinations(range(len(groups)), 2))
    differences, errors = bootstrap.differences(values, [member for _, member in groups], pairs)
    few = [bootstrap.women_in(member & present) < _FEWEST for _, member in groups]
    errors[:, [few[i] or few[j] for i, j in pairs]] = math.nan
    low, high, p_woman = simultaneous(differences, errors)
    sizes = tuple(len(sample) for sample in samples)
    if len(groups) == 2:
        tested = [("unpaired t-test", *unpaired_t(*samples))]
        results = []
    else:
        # A group of one image has no spread: it stands aside, and the others are tested.
        tried = [k for k, sample in enumerate(samples) if len(sample) > 1]
        statistic, p = anova([samples[k] for k in tried])
        matrix = np.full((len(groups), len(groups)), math.nan)
        matrix[np.ix_(tried, tried)] = tukey([samples[k] for k in tried])
        tested = [("Tukey", math.nan, float(matrix[i, j])) for i, j in pairs]
        women = bootstrap.women_in(present)
        # The smallest simultaneous p of all pairs is the bootstrap's test that all means are equal.
        together = float(np.nanmin(p_woman)) if not np.isnan(p_woman).all() else math.nan
        entered = tuple(sizes[k] for k in tried)
        results = [
            Comparison(
                family, score, "one-way ANOVA", entered, women, math.nan, statistic, p, math.nan, math.nan, together
            )
        ]
    for k, (i, j) in enumerate(pairs):
        (first, member), (second, other) = groups[i], groups[j]
        women = bootstrap.women_in((member | other) & present)
        test, statistic, p = tested[k]
        results.append(
            Comparison(
                f"{first} – {second}", score, test, (sizes[i], sizes[j]), women, float(differences[0, k]), statistic, p,
                float(low[k]), float(high[k]), float(p_woman[k]),
            )
        )  # fmt: skip
    return results


def compare_views(cases: pd.DataFrame) -> list[Comparison]:
    """MLO against CC: the paper's unpaired t-test (section 2.3.1). Other views are left out."""
    grouped = with_groups(cases)
    two = grouped[grouped["view_group"].isin(["MLO", "CC"])].sort_values("view_group", ascending=False)
    return compare_groups(two, two["view_group"], "All views")


def compare_datasets(cases: pd.DataFrame) -> list[Comparison]:
    """All data sets: one-way ANOVA and Tukey (section 2.3.1); with only two, the unpaired t-test."""
    grouped = with_groups(cases)
    return compare_groups(grouped, grouped["dataset_name"], "All datasets")


def compare_models(first: pd.DataFrame, second: pd.DataFrame) -> list[Comparison]:
    """Two models on the same cases: the paired t-test of sections 2.3.2 and 2.3.4, processed (and film) and raw apart.

    Differences are `first` less `second`. Rows of the two frames are joined by their case.
    """
    joined = first.merge(second[["case", *SCORES.values()]], on="case", suffixes=("", "_second"), validate="1:1")
    raw = joined["intent"] == Intent.RAW.value
    results = []
    for name, part in (("processed images", joined[~raw]), ("raw images", joined[raw])):
        if not part.empty:
            results += compare_pairs(part, name)
    return results


def compare_pairs(joined: pd.DataFrame, what: str) -> list[Comparison]:
    """The paired t-test of each score and its column with the suffix `_second`."""
    bootstrap = WomanBootstrap(joined)
    results = []
    for score, column in SCORES.items():
        a, b = joined[column].to_numpy(dtype=float), joined[f"{column}_second"].to_numpy(dtype=float)
        both = ~np.isnan(a) & ~np.isnan(b)
        if not both.any():
            continue
        differences, errors = bootstrap.differences(a - b, [both], [(0,)])
        low, high, p_woman = simultaneous(differences, errors)
        statistic, p = paired_t(a[both], b[both])
        results.append(
            Comparison(
                what, score, "paired t-test", (int(both.sum()),), bootstrap.women_in(both), float(differences[0, 0]),
                statistic, p, float(low[0]), float(high[0]), float(p_woman[0]),
            )
        )  # fmt: skip
    return results


def tests_table(comparisons: Sequence[Comparison], *, of_paper: bool = True) -> ReportTable:
    """The comparisons as texts, the paper's p beside ours where it prints one; nowhere unless `of_paper`."""
    import pandas as pd

    columns = ["Comparison", "Dice", "n", "Women", "Difference", "Test", "Statistic", "p", "p, paper",
               "95 % interval by woman", "p by woman"]  # fmt: skip
    rows = [
        [
            c.what,
            c.score,
            ", ".join(map(str, c.n)),
            str(c.women),
            _number(c.difference),
            c.test,
            _number(c.statistic, 2),
            p_text(c.p),
            published.TESTS.get((c.what, c.score), "") if of_paper else "",
            _interval(c),
            p_text(c.p_by_woman),
        ]
        for c in comparisons
    ]
    notes = (
        DIFFERENCE,
        "Test: as in the paper, every image taken as independent.",
        "By woman: bootstrap that draws women within their data set, all pairs of a family at once; empty where there "
        "are too few women to tell.",
    )
    return ReportTable("statistics", "Tests between groups", pd.DataFrame(rows, columns=columns), notes)


DIFFERENCE: Final = "Difference: the group named first less the other; of two models, A less B."


def short_table(comparisons: Sequence[Comparison]) -> ReportTable:
    """The comparisons of overall Dice that have a difference, in few columns, for a terminal."""
    import pandas as pd

    columns = ["Comparison", "Difference", "95\u00a0% interval by woman", "p by woman", "p of the paper's test"]
    rows = [
        [c.what, _number(c.difference), _interval(c), p_text(c.p_by_woman), p_text(c.p)]
        for c in comparisons
        if c.score == "overall" and not math.isnan(c.difference)
    ]
    return ReportTable("short", "Overall Dice", pd.DataFrame(rows, columns=columns), (DIFFERENCE,))


def _interval(comparison: Comparison) -> str:
    if math.isnan(comparison.low):
        return ""
    return f"{_number(comparison.low)} to {_number(comparison.high)}"


def _number(value: float, decimals: int = 3) -> str:
    return "" if math.isnan(value) else f"{value:.{decimals}f}".replace("-", "−")

"""Which groups of scored cases are compared, each with the paper's test (section 2.3) and with the bootstrap by woman.

The tests are in `hypothesis_tests.py`, the bootstrap is in `woman_bootstrap.py`, the tables that show the results are
in `significance_tables.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import FloatArray
from maseg_nnunet.evaluation.hypothesis_tests import anova, paired_t, tukey, unpaired_t
from maseg_nnunet.evaluation.tables import with_groups
from maseg_nnunet.evaluation.woman_bootstrap import WomanBootstrap, simultaneous
from maseg_nnunet.mammogram import Intent

if TYPE_CHECKING:
    import pandas as pd

SCORES: Final = {"overall": "dice_overall", "breast": "dice_breast", "pectoral": "dice_pectoral"}

_MIN_WOMEN: Final = 3
"""Women that a group must have. Of a group of two, half of all draws have one woman twice: the group then has no
spread while the other group still has one, and the test rejects too often."""


@dataclass(frozen=True)
class Comparison:
    """One comparison of mean scores; a row of statistics.csv.

    Attributes:
        what: What was compared, such as `MLO – CC`.
        score: Key of `SCORES`.
        test: Name of the paper's test.
        n: Number of images in each group, or of pairs.
        women: Number of women in all groups together.
        difference: Difference of the means; NaN for an analysis of variance.
        statistic: Statistic of the paper's test; NaN for Tukey's HSD, and if the test is undefined.
        p: p-value of the paper's test; NaN if the test is undefined (a group of fewer than two images, no spread).
        low: Lower limit of the 95% confidence interval of the bootstrap by woman; NaN if there are too few women.
        high: Upper limit, likewise.
        p_by_woman: p-value of the bootstrap by woman, likewise.
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


def compare_views(cases: pd.DataFrame) -> list[Comparison]:
    """Compare MLO with CC by the paper's unpaired t-test (section 2.3.1). Other views are left out."""
    grouped = with_groups(cases)
    two = grouped[grouped["view_group"].isin(["MLO", "CC"])].sort_values("view_group", ascending=False)
    return compare_groups(two, two["view_group"], "All views")


def compare_datasets(cases: pd.DataFrame) -> list[Comparison]:
    """Compare all data sets by one-way ANOVA and Tukey's HSD (section 2.3.1), only two by the unpaired t-test."""
    grouped = with_groups(cases)
    return compare_groups(grouped, grouped["dataset_name"], "All datasets")


def compare_models(first: pd.DataFrame, second: pd.DataFrame) -> list[Comparison]:
    """Compare two models on the same cases by the paired t-test of sections 2.3.2 and 2.3.4.

    Raw images are compared apart from processed and film images. The rows of the two frames are joined by case.
    Differences are `first` minus `second`.
    """
    joined = first.merge(second[["case", *SCORES.values()]], on="case", suffixes=("", "_second"), validate="1:1")
    raw = joined["intent"] == Intent.RAW.value
    results = []
    for name, part in (("processed images", joined[~raw]), ("raw images", joined[raw])):
        if not part.empty:
            results += compare_pairs(part, name)
    return results


def compare_pairs(joined: pd.DataFrame, what: str) -> list[Comparison]:
    """Compare each score with its column of the suffix `_second` by the paired t-test; `what` names the comparison."""
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


def compare_groups(cases: pd.DataFrame, groups: pd.Series[str], family: str) -> list[Comparison]:
    """Compare the mean scores of two or more groups of images.

    Two groups are compared by the unpaired t-test, more by one-way ANOVA and, pair by pair, by Tukey's HSD.

    Args:
        cases: Scored cases.
        groups: Name of the group of each case. Comparisons follow the order in which the groups appear.
        family: Name of the comparison of all groups.

    Returns:
        The comparisons of each score; none for a score that fewer than two groups have.
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
    few = [bootstrap.women_in(member & present) < _MIN_WOMEN for _, member in groups]
    errors[:, [few[i] or few[j] for i, j in pairs]] = math.nan
    low, high, p_woman = simultaneous(differences, errors)
    sizes = tuple(len(sample) for sample in samples)
    if len(groups) == 2:
        tested = [("unpaired t-test", *unpaired_t(*samples))]
        results = []
    else:
        # A group of one image has no spread: the test is made without it.
        testable = [k for k, sample in enumerate(samples) if len(sample) > 1]
        statistic, p = anova([samples[k] for k in testable])
        matrix = np.full((len(groups), len(groups)), math.nan)
        matrix[np.ix_(testable, testable)] = tukey([samples[k] for k in testable])
        tested = [("Tukey", math.nan, float(matrix[i, j])) for i, j in pairs]
        women = bootstrap.women_in(present)
        # The smallest simultaneous p of all pairs is the bootstrap's test that all means are equal.
        smallest = float(np.nanmin(p_woman)) if not np.isnan(p_woman).all() else math.nan
        results = [
            Comparison(
                family, score, "one-way ANOVA", tuple(sizes[k] for k in testable), women, math.nan, statistic, p,
                math.nan, math.nan, smallest,
            )
        ]  # fmt: skip
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

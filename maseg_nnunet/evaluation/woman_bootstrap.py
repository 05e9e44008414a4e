"""Cluster bootstrap by woman: confidence intervals and p-values that allow for several images of one woman.

Images of one woman are correlated, so tests that treat images as independent give p-values that are too small. The
bootstrap resamples women, not images: within each data set, as many women as it has are drawn with replacement, each
with all her images. It is studentized: the difference in each draw is divided by that draw's own standard error,
because with few women the standard error itself is uncertain. Confidence intervals and p-values are simultaneous over
the pairs of one family of comparisons, the bootstrap's counterpart of Tukey's HSD.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from maseg_nnunet.arrays import FloatArray

if TYPE_CHECKING:
    import pandas as pd

SIGNIFICANCE: Final = 0.05

_DRAWS: Final = 10_000

_ROUNDING: Final = 1e-12
"""A standard error up to this is rounding error: nothing varies."""


class WomanBootstrap:
    """Differences between the means of groups of images when women are resampled within their data set.

    The draws depend only on `seed` and on the women, so all scores and all comparisons of the same cases use the same
    draws. A data set with one woman contributes no variance.

    Args:
        cases: One row per image, with the columns dataset and woman. Women of the same name in two data sets are two
            women.
        draws: Number of bootstrap samples.
        seed: Seed of the random number generator.
    """

    def __init__(self, cases: pd.DataFrame, draws: int = _DRAWS, seed: int = 0) -> None:
        self._woman = cases.groupby(["dataset", "woman"]).ngroup().to_numpy()
        _, first = np.unique(self._woman, return_index=True)
        datasets = cases["dataset"].to_numpy(dtype=str)[first]
        self._members = [np.flatnonzero(datasets == dataset) for dataset in np.unique(datasets)]
        rng = np.random.default_rng(seed)
        # How often each woman is in each draw; the first row is the sample itself.
        self._weights = np.ones((1 + draws, len(datasets)))
        for members in self._members:
            n = len(members)
            self._weights[1:, members] = rng.multinomial(n, np.full(n, 1 / n), draws)

    def differences(
        self,
        values: FloatArray,
        groups: Sequence[npt.NDArray[np.bool_]],
        pairs: Sequence[tuple[int, ...]],
    ) -> tuple[FloatArray, FloatArray]:
        """Differences between group means and their standard errors, in the sample and in each draw.

        The standard error is that of a ratio of sums over clusters within strata, by linearization (Wolter,
        Introduction to Variance Estimation, section 6.3).

        Args:
            values: Score of each image, shape (images,); NaN is left out.
            groups: Membership of each image in each group, shape (images,) each.
            pairs: Indices of two groups, whose second mean is subtracted from the first, or of one group, whose mean
                is taken.

        Returns:
            (differences, standard errors), each of shape (1 + draws, pairs). The first row belongs to the sample. NaN
            if a draw has no image of a group.
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
                    involved = members[numbers[list(pair)][:, members].any(axis=0)]
                    # What one woman adds to the difference.
                    contribution = sum(
                        sign * (sums[g, involved] - means[:, g, None] * numbers[g, involved]) / totals[:, g, None]
                        for g, sign in signed
                    )
                    weights = self._weights[:, involved]
                    # The mean is over all women of the data set; those without an image in the pair contribute zero.
                    mean = (weights * contribution).sum(axis=1) / n
                    squares = (weights * (contribution - mean[:, None]) ** 2).sum(axis=1)
                    squares += (n - weights.sum(axis=1)) * mean**2
                    variance += squares * n / max(1, n - 1)
                results[1, :, k] = np.sqrt(variance)
        return results[0], results[1]

    def women_in(self, chosen: npt.NDArray[np.bool_]) -> int:
        """Count the women with an image in `chosen`, shape (images,)."""
        return len(np.unique(self._woman[chosen]))


def simultaneous(
    differences: FloatArray, errors: FloatArray, level: float = 1 - SIGNIFICANCE
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Simultaneous confidence intervals and p-values of m differences.

    Each difference is judged by the tail of its own |t|, so a pair with few women does not widen the intervals of the
    others (Beran 1988; minimum p of all m: Westfall and Young 1993).

    Args:
        differences: First result of `WomanBootstrap.differences`, shape (1 + draws, m).
        errors: Second result, the standard errors, of the same shape.
        level: Confidence level of all m intervals together.

    Returns:
        (low, high, p), shape (m,) each. NaN if nothing varies, or if so many draws have a single woman that the limit
        is unknown.
    """
    observed, error = differences[0], errors[0]
    low, high, p = (np.full(len(observed), math.nan) for _ in range(3))
    varying = np.flatnonzero(error > _ROUNDING)
    if not varying.size:
        return low, high, p
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.abs(differences[1:, varying] - observed[varying]) / errors[1:, varying]
    t[~(errors[1:, varying] > _ROUNDING)] = math.inf
    tails = stats.rankdata(-t, method="max", axis=0) / len(t)
    smallest = tails.min(axis=1)
    threshold = float(np.quantile(smallest, 1 - level, method="lower"))
    for k, position in enumerate(varying):
        half = float(np.quantile(t[:, k], 1 - threshold, method="higher")) * error[position]
        if math.isinf(half):
            continue
        low[position], high[position] = observed[position] - half, observed[position] + half
        tail = np.mean(t[:, k] >= abs(observed[position]) / error[position])
        p[position] = (1 + np.count_nonzero(smallest <= tail)) / (1 + len(t))
    return low, high, p

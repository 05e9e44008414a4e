"""Comparisons as tables to read: all of them for the report, those of overall Dice for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from maseg_nnunet.evaluation import published
from maseg_nnunet.evaluation.significance import Comparison
from maseg_nnunet.evaluation.tables import ReportTable, p_text

DIFFERENCE: Final = "Difference: mean of the first group minus mean of the second; for two models, A minus B."


def statistics_table(comparisons: Sequence[Comparison], *, of_paper: bool = True) -> ReportTable:
    """All comparisons, one row each.

    Args:
        comparisons: What was compared.
        of_paper: Whether these are the paper's comparisons. If so, its printed p-values are shown beside ours.
    """
    import pandas as pd

    columns = ["Comparison", "Dice", "n", "Women", "Difference", "Test", "Statistic", "p", "p, paper",
               "95% CI by woman", "p by woman"]  # fmt: skip
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
        "Test: the paper's; it treats images as independent.",
        "By woman: 95% confidence interval (CI) and p-value of a cluster bootstrap that resamples women within their "
        "dataset, simultaneous over the pairs of a family; empty if there are too few women.",
    )
    return ReportTable("statistics", "Statistical tests", pd.DataFrame(rows, columns=columns), notes)


def short_table(comparisons: Sequence[Comparison]) -> ReportTable:
    """The comparisons of overall Dice that have a difference, in few columns, for a terminal."""
    import pandas as pd

    columns = ["Comparison", "Difference", "95% CI by woman", "p by woman", "p of the paper's test"]
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

"""Scored cases that several test modules use."""

import numpy as np
import pandas as pd
import pytest

from tests.evaluation.helpers import cases_of


@pytest.fixture
def views():
    """Forty women with one MLO and one CC image each, whose scores are strongly correlated."""
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

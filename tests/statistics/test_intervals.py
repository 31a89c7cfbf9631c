"""The interval against scipy's exact binomial test, its defining tails, and its coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from robench.statistics.intervals import clopper_pearson


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(1, 3000), st.data())
def test_equals_the_exact_interval_of_scipy(n: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, n))
    exact = stats.binomtest(count, n).proportion_ci(confidence_level=0.95, method="exact")
    low, high = clopper_pearson(count, n)
    assert low == pytest.approx(exact.low, abs=1e-9)
    assert high == pytest.approx(exact.high, abs=1e-9)
    assert low <= count / n <= high


@pytest.mark.parametrize("rate", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("n", [10, 200])
def test_covers_the_true_rate_as_often_as_promised(rate: float, n: int) -> None:
    low, high = clopper_pearson(np.arange(n + 1), n)
    covered = (low <= rate) & (rate <= high)
    assert stats.binom.pmf(np.arange(n + 1), n, rate)[covered].sum() >= 0.95


@pytest.mark.parametrize(("count", "n", "confidence"), [(1, 0, 0.95), (-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1.0)])
def test_refuses_what_is_no_count(count: int, n: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="no interval"):
        clopper_pearson(count, n, confidence)

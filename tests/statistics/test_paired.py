"""Intervals of paired differences and of medians, against counting."""

import numpy as np
import pytest
from scipy.stats import binom, norm

from robench.statistics.convergence import settling
from robench.statistics.paired import median, paired_difference


@pytest.mark.parametrize(("both", "one", "other", "none"), [(5, 3, 1, 2), (40, 0, 0, 60), (0, 9, 0, 0)])
def test_a_paired_difference_is_that_of_agresti_and_min(both: int, one: int, other: int, none: int) -> None:
    first = np.repeat([1.0, 1.0, 0.0, 0.0], [both, one, other, none])
    second = np.repeat([1.0, 0.0, 1.0, 0.0], [both, one, other, none])
    found = paired_difference(first, second)
    n, b, c = both + one + other + none + 2, one + 0.5, other + 0.5
    middle, spread = (b - c) / n, ((b + c) / n - ((b - c) / n) ** 2) / n
    reach = norm.ppf(0.975) * spread**0.5
    assert found.value == pytest.approx((one - other) / (n - 2))
    assert (found.low, found.high) == (pytest.approx(max(-1, middle - reach)), pytest.approx(min(1, middle + reach)))


def test_paired_intervals_cover() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        draws = rng.choice(4, size=60, p=[0.5, 0.2, 0.1, 0.2])
        found = paired_difference((draws < 2).astype(float), (draws % 2 == 0).astype(float))
        covered += found.low <= 0.1 <= found.high
    assert covered >= 370


@pytest.mark.parametrize("n", [6, 7, 30, 101])
def test_the_interval_of_a_median_is_as_narrow_as_it_may_be(n: int) -> None:
    values = np.random.default_rng(n).permutation(n).astype(float)
    found = median(values)
    assert found is not None
    assert found.value == np.median(values)
    k = int(found.low) + 1
    assert found.high == n - k
    assert 2 * binom.cdf(k - 1, n, 0.5) <= 0.05 < 2 * binom.cdf(k, n, 0.5)


def test_few_values_have_no_interval_and_infinite_ones_do_no_harm() -> None:
    assert median(np.arange(5.0)) is None
    found = median(np.array([1.0, 2.0, np.inf, np.inf, np.inf, np.inf, np.inf]))
    assert found is not None
    assert (found.value, found.low) == (np.inf, 1.0)


def test_a_curve_is_flat_where_its_last_third_is() -> None:
    rising = [0.5 + 0.02 * epoch for epoch in range(12)]
    assert settling(rising) == (pytest.approx(0.04), False)
    assert settling([*rising[:8], 0.7, 0.702, 0.701, 0.703]) == (pytest.approx(0.001), True)
    assert settling([0.7] * 5) is None

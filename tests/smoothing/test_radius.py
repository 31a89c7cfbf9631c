"""From counts to radii: never above what exact arithmetic gives, and hardly below."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy.stats import binomtest, norm

from robench.smoothing.noise import SAMPLING_ERROR
from robench.smoothing.radius import lower_end, radius, tail


def exact_tail(count: int, n: int, p: float) -> Fraction:
    """The chance of `count` or more successes in n trials, in fractions."""
    share = Fraction(p)
    return sum((math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(count, n + 1)), start=Fraction(0))


@pytest.mark.parametrize("n", [1, 2, 17, 40])
@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.7])
def test_the_lower_end_holds_in_exact_arithmetic_and_is_the_largest_that_does(n: int, alpha: float) -> None:
    for count in range(1, n + 1):
        p = lower_end(count, n, alpha)
        assert exact_tail(count, n, p) <= Fraction(alpha)
        assert exact_tail(count, n, min(1.0, p * (1 + 1e-9))) > Fraction(alpha)
        ours = binomtest(count, n, alternative="greater").proportion_ci(1 - alpha, method="exact").low
        assert p == pytest.approx(ours, rel=1e-7)
    assert lower_end(0, n, alpha) == 0.0


@pytest.mark.parametrize(("count", "n", "p"), [(30, 40, 0.5), (10, 40, 0.9), (40, 40, 0.97), (1, 40, 1e-9)])
def test_the_tail_is_bounded_from_above(count: int, n: int, p: float) -> None:
    exact = exact_tail(count, n, p)
    assert exact <= Fraction(tail(count, n, p)) <= exact * (1 + Fraction(1, 10**25))


@pytest.mark.parametrize("count", [5001, 5100, 6000, 9000, 9990, 10_000])
@pytest.mark.parametrize(("sigma", "inputs"), [(0.25, 784), (1.0, 150_528)])
def test_the_radius_is_proven_and_that_of_the_field(count: int, sigma: float, inputs: int) -> None:
    found = radius(count, 10_000, alpha=0.001, sigma=sigma, inputs=inputs, offset=0.0)
    p = lower_end(count, 10_000, 0.001)
    with mpmath.workdps(50):
        least = Fraction(p) - inputs * SAMPLING_ERROR
        t = Fraction(found) / Fraction(sigma)
        assert (
            found == 0
            or mpmath.ncdf(mpmath.mpf(t.numerator) / t.denominator) <= mpmath.mpf(least.numerator) / least.denominator
        )
    assert found == pytest.approx(max(0.0, sigma * norm.ppf(p)), rel=1e-7)


def test_nothing_is_proven_of_a_class_without_a_majority() -> None:
    assert radius(5_150, 10_000, alpha=0.001, sigma=0.25, inputs=1, offset=0.0) == 0.0
    assert radius(0, 10_000, alpha=0.001, sigma=0.25, inputs=1, offset=0.0) == 0.0
    assert radius(1, 1, alpha=0.7, sigma=0.25, inputs=1, offset=0.0) > 0.0


@pytest.mark.parametrize("alpha", [1e-300, 1e-12, 1 - 1e-12])
@pytest.mark.parametrize("count", [1, 30, 49, 50])
def test_extreme_chances_give_numbers(count: int, alpha: float) -> None:
    p = lower_end(count, 50, alpha)
    assert 0 < p < 1
    assert exact_tail(count, 50, p) <= Fraction(alpha)


def test_the_offset_from_the_grid_is_subtracted() -> None:
    whole = radius(90, 100, alpha=0.01, sigma=0.5, inputs=4, offset=0.0)
    assert 0 < whole - radius(90, 100, alpha=0.01, sigma=0.5, inputs=4, offset=0.1) - 0.1 < 1e-15 + 1e-12
    assert radius(90, 100, alpha=0.01, sigma=0.5, inputs=4, offset=5.0) == 0.0


def test_radii_grow_with_counts() -> None:
    radii = [radius(count, 100, alpha=0.01, sigma=0.5, inputs=4, offset=0.0) for count in range(101)]
    assert (np.diff(radii) >= 0).all()
    assert radii[-1] > 0.5

"""From counts to a radius, every step proven: SciPy proposes a number, decimal arithmetic rounded one way judges it.

docs/design/0020 has the proof.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import MAX_EMAX, MIN_EMIN, ROUND_CEILING, ROUND_FLOOR, Context, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache

from scipy.special import betaincinv, ndtri

from robench.numerics import round_down
from robench.smoothing.noise import SAMPLING_ERROR
from robench.smoothing.normal import ERROR, normal_cdf

UP = Context(prec=40, rounding=ROUND_CEILING, Emin=MIN_EMIN, Emax=MAX_EMAX)
DOWN = Context(prec=40, rounding=ROUND_FLOOR, Emin=MIN_EMIN, Emax=MAX_EMAX)


def radius(count: int, n: int, *, alpha: float, sigma: float, inputs: int, offset: float) -> float:
    """Within which the smoothed classifier keeps its class, unless the draws were unlucky: with chance `alpha` at most.

    σ Φ⁻¹(p) − offset, rounded down; 0 where that is not above 0. p is the lower end of the one-sided interval of
    Clopper and Pearson, less the error of sampling.

    Args:
        count: draws of the class.
        n: all draws.
        alpha: chance of an interval that does not hold.
        sigma: of the noise.
        inputs: number of inputs of an image.
        offset: distance of the image from the one on the grid to which noise was added.
    """
    p = Fraction(lower_end(count, n, alpha)) - inputs * SAMPLING_ERROR
    if not p > Fraction(1, 2):
        return 0.0

    def holds(value: float) -> bool:
        return Fraction(normal_cdf(Fraction(value) / Fraction(sigma))) + Fraction(ERROR) <= p

    return max(0.0, round_down(_proven(sigma * float(ndtri(float(p))), holds) - offset))


@lru_cache(maxsize=4096)
def lower_end(count: int, n: int, alpha: float) -> float:
    """A p such that `count` or more successes of `n` have chance `alpha` at most if one success has chance p.

    Args:
        count: successes.
        n: trials.
        alpha: chance.

    Raises:
        ValueError: there are more successes than trials.
    """
    if not 0 <= count <= n:
        raise ValueError(f"{count} successes of {n}")
    if count == 0:
        return 0.0
    return _proven(float(betaincinv(count, n - count + 1, alpha)), lambda p: tail(count, n, p) <= Decimal(alpha))


def tail(count: int, n: int, p: float) -> Decimal:
    """An upper bound of the chance of `count` ≥ 1 or more successes in `n` trials, each of chance 0 < `p` < 1.

    Args:
        count: successes.
        n: trials.
        p: chance of one.
    """
    with localcontext(DOWN):
        least_loss = 1 - Decimal(p)
    with localcontext(UP):
        success, loss = Decimal(p), 1 - Decimal(p)
        term = _power(success, count) * _power(loss, n - count)
        for i in range(1, min(count, n - count) + 1):  # the binomial coefficient
            term = term * (n + 1 - i) / i
        total, odds = term, success / least_loss
        for j in range(count, n):
            ratio = odds * (n - j) / (j + 1)
            if ratio < Decimal("0.99") and term < total * Decimal("1e-30"):
                return total + 100 * term  # the ratios fall from here on
            term = term * ratio
            total += term
        return total


def _power(base: Decimal, exponent: int) -> Decimal:
    """Rounded as the context says at every product; `**` of decimals promises no side."""
    result = Decimal(1)
    while exponent:
        if exponent % 2:
            result = result * base
        base, exponent = base * base, exponent // 2
    return result


def _proven(candidate: float, holds: Callable[[float], bool]) -> float:
    """The first of ever smaller numbers below a candidate that is seen to hold; 0 always does."""
    value, step = candidate, 2.0**-50
    while value > 0:  # neither 0 nor NaN
        if holds(value):
            return value
        value, step = candidate * (1 - step), 2 * step
    return 0.0

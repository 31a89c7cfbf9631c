"""Directed rounding: certified numbers go down, upper bounds go up, never to nearest."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

UNIT_ROUNDOFF: float = 2.0**-53
"""Unit roundoff u of IEEE 754 binary64, round to nearest."""


def round_down(value: float, ulps: int = 1) -> float:
    """The float64 that lies `ulps` steps below `value`."""
    for _ in range(ulps):
        value = math.nextafter(value, -math.inf)
    return value


def round_up(value: float, ulps: int = 1) -> float:
    """The float64 that lies `ulps` steps above `value`."""
    for _ in range(ulps):
        value = math.nextafter(value, math.inf)
    return value


def binade(value: float) -> float:
    """The largest power of two that is at most `value` > 0: to divide by it is exact, and leaves numbers below 2."""
    return 2.0 ** (math.frexp(value)[1] - 1)


def gamma(n: int) -> float:
    """Higham's gamma_n = n u / (1 - n u), an upper bound of the relative error of n float64 operations, rounded up.

    N. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., Lemma 3.1.
    """
    nu = n * UNIT_ROUNDOFF
    return round_up(nu / (1.0 - nu), 4)


def distance_upper(x: npt.ArrayLike, z: npt.ArrayLike) -> float:
    """An upper bound of the L2 distance of two arrays of the same shape: float64, rounded up.

    The differences are exact to 1 ulp, squares and sum to gamma_{n+2}; the root halves the relative error.
    """
    a = np.asarray(x, dtype=np.float64).ravel()
    b = np.asarray(z, dtype=np.float64).ravel()
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: {a.shape} and {b.shape}")
    distance = float(np.sqrt(np.sum(np.square(a - b))))
    return 0.0 if distance == 0.0 else round_up(distance * (1.0 + gamma(a.size + 4)), 2)


def floor_decimals(value: float | Fraction, decimals: int) -> str:
    """`value` with `decimals` digits after the point, never rounded up (for certified numbers).

    Exact: a rate should come as `Fraction(count, n)`, since 0.58 as a float lies below 58/100.
    """
    return _fixed_point(math.floor(Fraction(value) * 10**decimals), decimals)


def ceil_decimals(value: float | Fraction, decimals: int) -> str:
    """`value` with `decimals` digits after the point, never rounded down (for upper bounds)."""
    return _fixed_point(math.ceil(Fraction(value) * 10**decimals), decimals)


def _fixed_point(scaled: int, decimals: int) -> str:
    digits = str(abs(scaled)).rjust(decimals + 1, "0")
    sign = "-" if scaled < 0 else ""
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}" if decimals else f"{sign}{digits}"

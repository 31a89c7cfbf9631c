"""Directed rounding: certified numbers go down, upper bounds go up, never to nearest.

The last functions make the text of numbers, for the terminal, tables and pages alike. Nothing else rounds what is
shown. What holds from below (certified rates, certified radii, found slopes) is rounded down. What holds from above
(accuracy under attack, attack distances, Lipschitz bounds) is rounded up. Clean accuracy is accuracy under attack at
ε = 0 and is rounded up too, so that it never stands below an attacked rate of the same images; the base rate follows
it. JSON rounds no rate: it has the exact count beside it. Rates come as counts, so that every step is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

UNIT_ROUNDOFF: float = 2.0**-53
"""Unit roundoff u of IEEE 754 binary64, round to nearest."""
ABSENT = "–"
"""What does not exist, or was not computed."""
FEW = 1000
"""Up to so many images one digit after the point tells one image from the next."""


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


def lower_percent(count: int | None, n: int, unit: str = "") -> str:
    """A rate that holds from below, in percent; absent without a count or images.

    Args:
        count: images that count.
        n: all images.
        unit: what stands behind the number, such as ` %`; nothing does behind what does not exist.
    """
    return ABSENT if count is None or not n else floor_decimals(Fraction(100 * count, n), _digits(n)) + unit


def upper_percent(count: int | None, n: int, unit: str = "") -> str:
    """A rate that holds from above, in percent; absent without a count or images.

    Args:
        count: images that count.
        n: all images.
        unit: as of `lower_percent`.
    """
    return ABSENT if count is None or not n else ceil_decimals(Fraction(100 * count, n), _digits(n)) + unit


def lower(value: float | Fraction | None, decimals: int = 4, unit: str = "") -> str:
    """A number that holds from below: a radius, a slope that was found.

    Args:
        value: the number.
        decimals: digits after the point.
        unit: as of `lower_percent`.
    """
    return ABSENT if value is None else floor_decimals(value, decimals) + unit


def upper(value: float | Fraction | None, decimals: int = 4, unit: str = "") -> str:
    """A number that holds from above: a distance, a Lipschitz bound, a cost.

    Args:
        value: the number.
        decimals: digits after the point.
        unit: as of `lower_percent`.
    """
    return ABSENT if value is None else ceil_decimals(value, decimals) + unit


def broke(count: int, given: int) -> str:
    """What an attack of an ensemble did at one ε: no rate, since others chose the images it was given."""
    return f"broke {count} of {given}" if given else ABSENT


def spread(rates: Sequence[float | Fraction]) -> str:
    """The mean of rates that hold from above, in percent, with the least and the greatest; of one, the rate alone."""
    mean, least, greatest = sum(rates, Fraction(0)) / len(rates), min(rates), max(rates)
    if len(rates) == 1:
        return upper(100 * mean, 1)
    return f"{upper(100 * mean, 1)} ({upper(100 * least, 1)} to {upper(100 * greatest, 1)})"


def _digits(n: int) -> int:
    return 1 if n <= FEW else 2

"""How numbers are shown, in the terminal, in tables and on pages alike: the one place where they are rounded.

Nothing is rounded to nearest. What holds from below (certified rates, certified radii, found slopes) is rounded down;
what holds from above (accuracy under attack, attack distances, Lipschitz bounds) is rounded up. Clean accuracy is
accuracy under attack at ε = 0 and goes up with it, so that it never stands below an attacked rate of the same images;
the base rate goes with the accuracy that it is held against. JSON rounds no rate: it has the exact count beside it.
Rates come as counts, so that every step is exact.
"""

from __future__ import annotations

from fractions import Fraction

from robench.numerics import ceil_decimals, floor_decimals

ABSENT = "–"
"""What does not exist, or was not computed."""
FEW = 1000
"""Up to so many images one digit after the point tells one image from the next."""


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


def _digits(n: int) -> int:
    return 1 if n <= FEW else 2

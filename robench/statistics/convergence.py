"""Whether a training had settled: its curve on the validation split over the last third of its epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

FLAT = 0.005
"""A rate that changes by less than half a point is flat; the sampling error of 10 000 images is as large."""
LEAST = 6
"""Values of a curve below which its last third says nothing."""


class Settling(NamedTuple):
    """The last third of a curve.

    Fields:
        change: mean of its second half less mean of its first half.
        flat: whether that is below `FLAT`, up or down.
    """

    change: float
    flat: bool


def settling(curve: Sequence[float]) -> Settling | None:
    """The last third of a curve of rates; None where there are too few values.

    Args:
        curve: rates in the order of the epochs, evenly spaced.
    """
    if len(curve) < LEAST:
        return None
    third = curve[-(len(curve) // 3) :]
    half = len(third) // 2
    before, after = third[:half], third[-half:]
    change = sum(after) / half - sum(before) / half
    return Settling(change, abs(change) < FLAT)

"""A box of inputs, [low, high] in each entry: what lies in it is within `radius` of its center."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robench.errors import SpecError
from robench.lipschitz.norms.rounding import Growth
from robench.numerics import round_up


@dataclass(frozen=True)
class Box:
    """The inputs that a bound holds for.

    Fields:
        low, high: least and greatest value of an entry.
        shape: of one input.
    """

    low: float
    high: float
    shape: tuple[int, ...]

    @property
    def center(self) -> Tensor:
        """The input in the middle, float64: of the inputs that float64 holds, the nearest."""
        return torch.full(self.shape, self.low / 2 + self.high / 2, dtype=torch.float64)

    @property
    def radius(self) -> float:
        """Upper bound of ‖x − center‖ for x in the box."""
        middle = self.low / 2 + self.high / 2
        half = round_up(max(self.high - middle, middle - self.low), 2)
        return round_up(half * math.sqrt(math.prod(self.shape)), 3)

    def at(self, growth: Growth) -> float:
        """The largest value in the box of what grows with the distance from the center."""
        grown = growth.slope * self.radius if growth.slope else 0.0
        return round_up(round_up(grown) + growth.offset)

    def place(self, unit: Tensor) -> Tensor:
        """Points of [0, 1] at the same place in the box, up to rounding within it."""
        return (self.low + (self.high - self.low) * unit).clamp(self.low, self.high)

    def holds(self, x: Tensor) -> bool:
        """Whether all entries lie in the box; NaN does not."""
        return bool(((x >= self.low) & (x <= self.high)).all())


def box_of(given: Sequence[float] | None, shape: tuple[int, ...]) -> Box | None:
    """A box from its two sides.

    Args:
        given: least and greatest value of an entry; None for the whole space.
        shape: of one input.

    Raises:
        SpecError: they are not two finite numbers, the first below the second.
    """
    if given is None:
        return None
    try:
        low, high = (float(side) for side in given)
        serves = math.isfinite(low) and math.isfinite(high - low) and low < high
    except (TypeError, ValueError):
        serves = False
    if not serves:
        raise SpecError(f"`box` is {given!r}", hint="give the least and the greatest value of an entry, such as (0, 1)")
    return Box(low, high, tuple(shape))

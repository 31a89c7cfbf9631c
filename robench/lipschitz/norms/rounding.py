"""How far computed values are from exact ones: bounds that grow with the input (docs/design/0004 §5, 0008).

Three things set a deployed network apart from the one that is bounded: its operations round; what is smaller than
the smallest normal number may become 0; and in float32 its constants are other numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robench.numerics import gamma, round_up

UNITS = {"float64": 2.0**-53, "float32": 2.0**-24}
"""Unit roundoff of the arithmetics that error bounds are kept for."""
SMALLEST = {"float64": 2.0**-1022, "float32": 2.0**-126}
"""Smallest normal number: an operation that underflows, gradually or to 0, errs by no more."""

MOMENTS = 8
"""A variance is taken to be computed to this many times γ_n of the mean square, by whatever formula (0018 §5)."""


def rounding(terms: int, unit: float) -> float:
    """γ_n = n u / (1 − n u) for any unit roundoff, rounded up; infinite where n u ≥ 1."""
    product = (terms + 1) * unit
    return round_up(product / (1 - product), 4) if product < 1 else math.inf


@dataclass(frozen=True)
class Growth:
    """An upper bound `slope`·‖x‖ + `offset` that holds for every x: the network's input, or that of an operation."""

    slope: float
    offset: float

    def __add__(self, other: Growth) -> Growth:
        return Growth(_sum(self.slope, other.slope), _sum(self.offset, other.offset))

    def scale(self, factor: float) -> Growth:
        """Times a factor ≥ 0."""
        return Growth(_product(self.slope, factor), _product(self.offset, factor))

    @property
    def finite(self) -> bool:
        """Whether it bounds anything."""
        return math.isfinite(self.slope) and math.isfinite(self.offset)

    @staticmethod
    def joint(parts: Sequence[Growth]) -> Growth:
        """Of a concatenation: root of the sum of squares (Minkowski)."""
        if len(parts) == 1:
            return parts[0]
        return Growth(
            round_up(math.hypot(*(part.slope for part in parts)), 3),
            round_up(math.hypot(*(part.offset for part in parts)), 3),
        )


NOTHING = Growth(0.0, 0.0)


def _sum(a: float, b: float) -> float:
    return round_up(a + b)


def _product(a: float, b: float) -> float:
    """Rounded up; 0 times infinity is 0, as a bound of nothing is nothing however often it is taken."""
    return round_up(a * b) if a and b else 0.0


@dataclass(frozen=True)
class Slack:
    """What sets an operation of a deployed network apart from that of the float64 network, besides rounding.

    Fields:
        constants: error because constants are other numbers in float32, by the norm of the computed input.
        units: error of roundings that do not shrink with a coefficient, in unit roundoffs, by the same norm.
        underflow: error of underflow, in smallest normal numbers, by the same norm.
        under_root: underflow of each entry under a square root, in smallest normal numbers.
    """

    constants: Growth = NOTHING
    units: Growth = NOTHING
    underflow: Growth = NOTHING
    under_root: float = 0.0

    def of(self, arithmetic: str) -> Growth:
        """All but what is under a root, in one arithmetic."""
        total = self.underflow.scale(SMALLEST[arithmetic]) + self.units.scale(UNITS[arithmetic])
        return total + self.constants if arithmetic == "float32" else total


EXACT = Slack()


def linear_underflow(terms: int, size: int, inputs: int, absolute: float, offset: float) -> Growth:
    """Of sums of products, in smallest normal numbers, by the norm of what they are given.

    Each of 2·terms + 8 operations of an entry errs by 1 at most; an input that is taken for 0 by |A|; a coefficient
    that is taken for 0 by the input.

    Args:
        terms: products in a sum.
        size: entries of the result.
        inputs: entries of what the sums are taken of.
        absolute: norm of |A|.
        offset: norm of what is added.
    """
    steps = 2.0 * terms + 8
    rest = math.sqrt(size) * (1 + offset) + absolute * math.sqrt(inputs)
    return Growth(round_up(steps * math.sqrt(size * inputs), 3), round_up(steps * rest, 8))


def vector_norm_upper(vector: Tensor) -> float:
    """An upper bound of the L2 norm of a float64 tensor."""
    value = float(torch.linalg.vector_norm(vector))
    return 0.0 if value == 0.0 else round_up(value * (1 + gamma(vector.numel() + 4)), 2)

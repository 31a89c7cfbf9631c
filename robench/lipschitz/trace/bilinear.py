"""Signals that are products of two others, which are bounded while the input stays in a box."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from robench.lipschitz.norms.rounding import SMALLEST, UNITS, Growth, rounding
from robench.lipschitz.trace.box import Box
from robench.lipschitz.trace.signals import Row, Signal
from robench.numerics import round_up


@dataclass(frozen=True)
class Factor:
    """What one factor of a product does to the other, over the box.

    Fields:
        gain: upper bound of ‖product with a step of the other factor‖, by the length of the step of its *signal*.
        size: the same by the length of the step of the other factor itself, entry by entry as it is multiplied.
        length: upper bound of the L2 norm of the factor.
    """

    gain: float
    size: float
    length: float


@dataclass(eq=False)
class Bilinear(Signal):
    """A product of two views, entry by entry or of matrices (docs/design/0018-boxes.md §3).

    Fields:
        kind: what it does, for the table.
        factors: of the left view, of the right view.
        terms: products and sums that an entry takes.
        box: where the input lies.
    """

    kind: str
    factors: tuple[Factor, Factor]
    terms: int
    box: Box

    @property
    def operation(self) -> str:
        """What it does, for the table."""
        return self.kind

    @cached_property
    def lipschitz(self) -> float:
        """As f g − f' g' = f (g − g') + g' (f − f'): upper bound over the box."""
        left, right = (view.signal.lipschitz for view in self.inputs)
        return round_up(self.factors[0].gain * right + self.factors[1].gain * left, 3)

    def _error(self, arithmetic: str) -> Growth:
        """f̂ ĝ − f g = δf g + f δg + δf δg, and what the product rounds."""
        (left, right), unit = self.factors, UNITS[arithmetic]
        first, second = (self.box.at(view.error(arithmetic)) for view in self.inputs)
        passed = round_up(first * right.size + left.size * second + first * second, 4)
        lengths = (left.length + first, right.length + second)
        own = round_up(rounding(self.terms + 2, unit) * lengths[0] * lengths[1], 4)
        entries = sum(view.size for view in self.inputs)
        tiny = (2 * self.terms + 8) * math.sqrt(self.size * entries) + (sum(lengths) + 1) * math.sqrt(entries)
        return Growth(0.0, round_up(passed + own + round_up(tiny * SMALLEST[arithmetic], 8), 4))

    @property
    def row(self) -> Row:
        """The row of the table: the bound of the network up to here, as there is none of a product alone."""
        return Row(self.name, self.operation, self.lipschitz, self.inputs)

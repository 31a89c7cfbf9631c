"""Signals that are nonlinear functions of others taken jointly, and sums of signals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from robench.lipschitz.norms.rounding import (
    EXACT,
    SMALLEST,
    UNITS,
    Growth,
    Slack,
    linear_underflow,
    rounding,
    vector_norm_upper,
)
from robench.lipschitz.trace.signals import BATCH, Block, Row, Signal
from robench.numerics import round_up


@dataclass(frozen=True)
class Function:
    """What is known of a nonlinear operation.

    Fields:
        operation: its name in the table of layers.
        slope: its Lipschitz constant, of its inputs taken jointly.
        terms: operations that an entry of the result takes; 0 if nothing is rounded.
        absolute_error: error of the definition itself, such as a threshold behind which torch replaces the function.
        entrywise: whether entry k is a function of entry k of the inputs, put one after the other, of constant `slope`.
        slack: what other constants and underflow add to the error.
        each: the constant of one entry of the result, where that is known to be less.
        positive: for relu(−v), the signal relu(v): together they cost no more than the larger of the two.
        lowest: of a function of each entry, its least slope; −slope where none is stated.
        below: of a function of one entry that is the identity above 0, its slope below 0, for each entry.
        groups: of a maximum, or of a sort in ascending order: makes the positions (groups, members) among the inputs,
            put one after the other, that are compared; a sort writes to the places it reads.
    """

    operation: str
    slope: float
    terms: int = 0
    absolute_error: float = 0.0
    entrywise: bool = False
    slack: Slack = EXACT
    positive: Signal | None = None
    each: float | None = None
    lowest: float | None = None
    below: Tensor | float | None = None
    groups: Callable[[], Tensor] | None = None

    @property
    def slopes(self) -> tuple[float, float]:
        """The least and the largest slope of an entry."""
        return -self.slope if self.lowest is None else self.lowest, self.slope


@dataclass(eq=False)
class Nonlinear(Signal):
    """A function of some views.

    Fields:
        function: what it does.
        joint: upper bound of the constant of the views taken jointly.
    """

    function: Function
    joint: float

    @property
    def operation(self) -> str:
        """What it does, for the table."""
        return self.function.operation

    @cached_property
    def lipschitz(self) -> float:
        """Upper bound with respect to the network's input."""
        slope = self.function.slope
        return self.joint if slope == 1.0 else round_up(slope * self.joint)

    def _error(self, arithmetic: str) -> Growth:
        """What comes in, stretched, and what the operation adds (docs/design/0004 §5, 0008 §3)."""
        function, entries = self.function, sum(view.size for view in self.inputs)
        before = Growth.joint([view.error(arithmetic) for view in self.inputs])
        size = Growth.joint([view.magnitude(arithmetic) for view in self.inputs])
        offset = vector_norm_upper(self.zero[: self.zero.shape[0] // BATCH])
        local = size.scale(function.slope) + Growth(0.0, offset)
        factor = rounding(function.terms, UNITS[arithmetic]) if function.terms else 0.0
        total = before.scale(function.slope) + local.scale(factor) + Growth(0.0, function.absolute_error)
        underflow = linear_underflow(function.terms, self.size, entries, function.slope, 0.0)
        slack = replace(function.slack, underflow=underflow + function.slack.underflow).of(arithmetic)
        under_root = self.size * function.slack.under_root * SMALLEST[arithmetic]
        root = round_up(math.sqrt(under_root), 3) if under_root else 0.0
        return total + size.scale(slack.slope) + Growth(0.0, round_up(slack.offset + root))

    @property
    def row(self) -> Row:
        """The row of the table."""
        return Row(self.name, self.operation, self.function.slope, self.inputs)


@dataclass(eq=False)
class Sum(Signal):
    """A weighted sum of views.

    Fields:
        weights: factors of the views.
        slack: how far the weights are off.
        block: the residual block that the sum is, if it is one.
    """

    weights: tuple[float, ...]
    slack: Slack = EXACT
    block: Block | None = None

    operation = "sum"

    @cached_property
    def lipschitz(self) -> float:
        """Upper bound with respect to the network's input."""
        parts = zip(self.weights, self.inputs, strict=True)
        bound = round_up(sum(abs(weight) * view.lipschitz for weight, view in parts), len(self.inputs) + 1)
        return bound if self.block is None else min(bound, self.block.lipschitz)

    def _error(self, arithmetic: str) -> Growth:
        factor = rounding(len(self.inputs) + 1, UNITS[arithmetic])
        tiny = linear_underflow(len(self.inputs), self.size, self.size, max(map(abs, self.weights)), 0.0)
        total = Growth(0.0, tiny.offset).scale(SMALLEST[arithmetic])
        off = round_up(self.slack.of(arithmetic).slope + tiny.slope * SMALLEST[arithmetic])
        for weight, view in zip(self.weights, self.inputs, strict=True):
            total = total + view.error(arithmetic).scale(abs(weight))
            total = total + view.magnitude(arithmetic).scale(round_up(abs(weight) * factor + off, 2))
        return total

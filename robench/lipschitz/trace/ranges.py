"""Which values the signals take while the input stays in a box: an interval for each entry, and lengths of parts.

All of it holds for exact arithmetic, and is computed in float64 and rounded outwards (docs/design/0018-boxes.md §2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robench.lipschitz.norms.linear import Centering, Dense, Diagonal, LinearOp, Reduction
from robench.lipschitz.norms.rounding import vector_norm_upper
from robench.lipschitz.norms.windows import Separable, Sliding
from robench.lipschitz.trace.box import Box
from robench.lipschitz.trace.linear import Linear
from robench.lipschitz.trace.nonlinear import Nonlinear, Sum
from robench.lipschitz.trace.signals import BATCH, Input, Signal, View
from robench.numerics import gamma, round_up

_RISING = """
    relu relu6 hardtanh clamp clamp_min clamp_max softshrink threshold sigmoid hardsigmoid tanh log_sigmoid
    softplus celu selu erf atan asinh amax amin maximum minimum fmax fmin max_pool1d max_pool2d max_pool3d
    max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool1d
    adaptive_max_pool2d adaptive_max_pool3d
"""
MONOTONE = frozenset(_RISING.split())
"""Operations that give no less where each entry that they are given is no less."""
GATED = {"gelu": 0.18, "silu": 0.28, "mish": 0.31, "hardswish": 0.376}
"""x times something in [0, 1]: at most max(x, 0), and never below minus this."""
ROUNDED_SIXTH = 1e-7
"""More than what torch's 1/6 of a Hardswish, which was rounded to float32, is off by, relative to it."""
LIBRARY = 2.0**-44
"""Relative error of an elementary function, with much room (docs/design/0004, A3)."""
TINY = 1e-290


class Range(NamedTuple):
    """Least and greatest value of each entry of one sample, flat."""

    low: Tensor
    high: Tensor

    @property
    def largest(self) -> Tensor:
        """Upper bound of the absolute values."""
        return torch.maximum(self.low.abs(), self.high.abs())

    def meet(self, other: Range) -> Range:
        """What lies in both, which cannot be empty but for rounding, which both are free of."""
        return Range(torch.maximum(self.low, other.low), torch.minimum(self.high, other.high))

    def widened(self, margin: Tensor | float) -> Range:
        """By a margin on both sides, rounded outwards."""
        return Range(down(self.low - margin), up(self.high + margin))


class Lengths(NamedTuple):
    """Bounds of the L2 norm of parts of a signal: the part that each entry belongs to, and the bound of each part."""

    part: Tensor
    bound: Tensor


def up(x: Tensor) -> Tensor:
    """The next float64 above."""
    return torch.nextafter(x, torch.full_like(x, math.inf))


def down(x: Tensor) -> Tensor:
    """The next float64 below."""
    return torch.nextafter(x, torch.full_like(x, -math.inf))


def around(middle: Tensor, reach: Tensor | float) -> Range:
    """All within a distance of a point, rounded outwards."""
    return Range(middle, middle).widened(reach)


class Ranges:
    """The ranges of signals over a box, computed where they are asked for.

    Args:
        box: where the input lies.
    """

    def __init__(self, box: Box) -> None:
        self.box = box
        self._ranges: dict[int, Range] = {}
        self._lengths: dict[int, Lengths] = {}
        self._rules: dict[int, Callable[[], Range]] = {}

    def note(self, call: Any, value: Any) -> None:
        """Remember what is known of an operation from the values that it takes.

        Args:
            call: the operation.
            value: what its rule gave.
        """
        view = value[0] if isinstance(value, list | tuple) and value else value
        if not isinstance(view, View) or not isinstance(view.signal, Nonlinear) or not view.whole:
            return
        signal, name = view.signal, call.operation
        if name in MONOTONE or (name in ("leaky_relu", "elu") and _rising(call)):
            self._rules[signal.order] = lambda: self._monotone(call, signal)
        elif name in GATED:
            self._rules[signal.order] = lambda: self._gated(signal, GATED[name])
        elif name == "abs":
            self._rules[signal.order] = lambda: self._absolute(signal)
        elif name in ("softmax", "_softmax"):
            ones = torch.ones(signal.size, dtype=torch.float64)
            self.state(signal, Range(torch.zeros_like(ones), ones), _along(call, 1.0))

    def state(self, signal: Signal, values: Range, lengths: Lengths | None = None) -> None:
        """Remember what a rule knows of the values of a signal.

        Args:
            signal: its result.
            values: its range.
            lengths: of parts of it.
        """
        self._rules[signal.order] = lambda: values
        if lengths is not None:
            self._lengths[signal.order] = lengths

    def of(self, signal: Signal) -> Range:
        """The range of a signal, without a norm that is not known yet."""
        for each in _before(signal, self._ranges):
            low, high = self._computed(each)
            self._ranges[each.order] = Range(_known(low, -math.inf), _known(high, math.inf))
        return self._ranges[signal.order]

    def of_view(self, view: View) -> Range:
        """The range of a view, flat; constants are what they are."""
        signal = view.signal
        return _selected(view, self.of(signal).meet(self._ball(signal, signal.lipschitz)))

    def length(self, view: View, parts: Tensor) -> Tensor:
        """Upper bounds of the L2 norms of parts of a view.

        Args:
            view: of what.
            parts: the number of the part of each entry, flat, from 0 without a gap.
        """
        count = int(parts.max()) + 1
        largest = self.of_view(view).largest
        squares = torch.zeros(count, dtype=torch.float64).index_add(0, parts, largest.square())
        known = self._known_lengths(view.signal)
        if known is not None and bool((view.flat_index > 0).all()):
            entry = view.flat_index - 1
            copies = torch.unique(parts * view.signal.size + entry, return_counts=True)[1].max()
            pairs = torch.unique(parts * len(known.bound) + known.part[entry])
            whole, part = pairs // len(known.bound), pairs % len(known.bound)
            other = torch.zeros(count, dtype=torch.float64).index_add(0, whole, known.bound[part].square() * copies)
            squares = torch.minimum(squares, other)
        return up(squares.sqrt() * (1 + gamma(view.size + 16)) + TINY)

    def _known_lengths(self, signal: Signal) -> Lengths | None:
        """Lengths that a rule stated, or that a linear operation on each part alone makes of them."""
        steps: list[Linear] = []
        while signal.order not in self._lengths:
            if not isinstance(signal, Linear) or not signal.view.whole or not isinstance(signal.op, Dense | Diagonal):
                return None
            steps.append(signal)
            signal = signal.view.signal
        known = self._lengths[signal.order]
        for step in reversed(steps):
            after = _after(step, known)
            if after is None:
                return None
            known = self._lengths[step.order] = after
        return known

    def _computed(self, signal: Signal) -> Range:
        if isinstance(signal, Input):
            side = torch.ones(signal.size, dtype=torch.float64)
            return Range(self.box.low * side, self.box.high * side)
        values = self._ball(signal, signal.reach)
        if signal.order in self._rules:
            return values.meet(self._rules[signal.order]())
        match signal:
            case Linear():
                return values.meet(self._linear(signal)).meet(self._linear_alone(signal))
            case Sum():
                return values.meet(self._sum(signal))
            case Nonlinear() if signal.function.entrywise:
                return values.meet(self._entrywise(signal))
        return values

    def _center(self, signal: Signal) -> tuple[Tensor, float]:
        """What is computed at the center of the box, and how far the exact value may be from that."""
        return signal.zero.reshape(BATCH, -1)[0], signal.rough_error("float64").offset

    def _ball(self, signal: Signal, lipschitz: float) -> Range:
        """All that is near enough to the value at the center."""
        middle, error = self._center(signal)
        return around(middle, round_up(round_up(lipschitz * self.box.radius) + error))

    def deviation(self, view: View) -> Tensor:
        """Upper bound of |v(x) − v̂|, v̂ the value that is computed at the center, entry by entry, flat."""
        middle, values = view.zero.reshape(BATCH, -1)[0], self._roughly(view)
        return up(torch.maximum(values.high - middle, middle - values.low).clamp_min(0.0))

    def _roughly(self, view: View) -> Range:
        """The range of a view, without a norm that is not known yet."""
        return _selected(view, self.of(view.signal))

    def _linear(self, signal: Linear) -> Range:
        """s(x) = s(c) + A (m − v(c)) + A (v(x) − m), m the middle of the range of v."""
        view = signal.view
        values, at_center = self._roughly(view), view.zero.reshape(BATCH, -1)[0]
        middle = values.low / 2 + values.high / 2
        half = up(torch.maximum(values.high - middle, middle - values.low))
        if not bool(middle.isfinite().all() & half.isfinite().all()):
            return around(signal.zero.reshape(BATCH, -1)[0], math.inf)
        zero, error = self._center(signal)
        before = view.signal.rough_error("float64").offset * view.norm
        shift = middle - at_center
        rounded = gamma(signal.op.terms + 8) * shift.abs()
        reach = _absolute(signal.op, half + before + rounded)
        reach = up(reach * (1 + gamma(signal.op.terms + 16)) + error)
        return around(zero + signal.op.apply(shift[None])[0], reach + 4 * gamma(4) * zero.abs() + TINY)

    def _linear_alone(self, signal: Linear) -> Range:
        """A m + A (v(x) − m) + shift, without the value at the center, of which the error may have no bound."""
        values = self._roughly(signal.view)
        middle = values.low / 2 + values.high / 2
        half = up(torch.maximum(values.high - middle, middle - values.low))
        if signal.shift is not None:
            added = signal.shift.reshape(-1).abs()  # rules give a bound of it, some without the sign
        else:
            added = torch.full((1,), signal.offset, dtype=torch.float64)
        if not bool(middle.isfinite().all() & half.isfinite().all()):
            return around(signal.zero.reshape(BATCH, -1)[0], math.inf)
        reach = _absolute(signal.op, half + gamma(signal.op.terms + 8) * middle.abs())
        return around(signal.op.apply(middle[None])[0], up((reach + added) * (1 + gamma(signal.op.terms + 16))) + TINY)

    def _sum(self, signal: Sum) -> Range:
        low = high = size = torch.zeros(signal.size, dtype=torch.float64)
        for weight, view in zip(signal.weights, signal.inputs, strict=True):
            values = self._roughly(view)
            ends = (values.low * weight, values.high * weight)
            low, high = low + torch.minimum(*ends), high + torch.maximum(*ends)
            size = size + values.largest * abs(weight)
        return Range(low, high).widened(size * gamma(2 * len(signal.inputs) + 4) + TINY)

    def _entrywise(self, signal: Nonlinear) -> Range:
        """Each entry moves by no more than the slope times what it is computed from."""
        moved = torch.cat([self.deviation(view) for view in signal.inputs])
        before = sum(view.error("float64").offset for view in signal.inputs)
        zero, error = self._center(signal)
        return around(zero, up((moved + before) * signal.function.slope) + error)

    def _monotone(self, call: Any, signal: Nonlinear) -> Range:
        """The operation itself at the ends of the range."""
        ends = []
        for side in (0, 1):
            args = [self._end(value, side) if isinstance(value, View) else value for value in call.args]
            found = call.target(*args, **call.kwargs)
            ends.append((found[0] if isinstance(found, list | tuple) else found).reshape(BATCH, -1)[0])
        margin = torch.maximum(*(end.abs() for end in ends)) * LIBRARY + signal.function.absolute_error + TINY
        return Range(*ends).widened(margin)

    def _end(self, view: View, side: int) -> Tensor:
        values = self._roughly(view)[side]
        return torch.stack((values, values)).reshape(view.shape)

    def _gated(self, signal: Nonlinear, below: float) -> Range:
        values = self._entrywise(signal)
        high = torch.cat([self._roughly(view).high for view in signal.inputs]).clamp_min(0.0)
        return values.meet(Range(torch.full_like(high, -below), up(high * (1 + ROUNDED_SIXTH))))

    def _absolute(self, signal: Nonlinear) -> Range:
        values = self._roughly(signal.inputs[0])
        return Range(torch.maximum(values.low, -values.high).clamp_min(0.0), values.largest)


def _selected(view: View, values: Range) -> Range:
    """The entries of a range that a view takes, and its constants."""
    at, fixed = view.flat_index, view.zero.reshape(BATCH, -1)[0]
    low, high = (torch.where(at == 0, fixed, torch.cat((fixed.new_zeros(1), side))[at]) for side in values)
    return Range(low, high)


def _known(side: Tensor, unknown: float) -> Tensor:
    return torch.where(side.isnan(), unknown, side)


def _rising(call: Any) -> bool:
    """Whether all numbers that an activation is given are above 0."""
    return all(float(value) >= 0 for value in (*call.args[1:], *call.kwargs.values()) if isinstance(value, int | float))


def _along(call: Any, bound: float) -> Lengths:
    """A bound of the norm along the axis that an operation is given."""
    shape = tuple(call.zero.shape)
    axis = call.args[1] % len(shape)
    kept = [1 if each == axis else side for each, side in enumerate(shape)]
    parts = torch.arange(math.prod(kept)).reshape(kept).expand(shape).reshape(BATCH, -1)[0]
    return Lengths(parts, torch.full((int(parts.max()) + 1,), bound, dtype=torch.float64))


def _after(step: Linear, known: Lengths) -> Lengths | None:
    """Lengths of the parts after an operation that acts on each part alone."""
    op = step.op
    if isinstance(op, Diagonal):
        part, factor = known.part, op.norm
    elif isinstance(op, Dense):
        rows = known.part.reshape(-1, op.weight.shape[1])
        if not bool((rows == rows[:, :1]).all()) or len(torch.unique(rows[:, 0])) != len(rows):
            return None
        part, factor = rows[:, 0].repeat_interleave(op.weight.shape[0]), op.norm
    else:
        return None
    bound = known.bound * factor
    if step.shift is not None:
        shift = step.shift.reshape(-1).expand(step.size)
        squares = torch.zeros(len(bound), dtype=torch.float64).index_add(0, part, shift.square())
        bound = bound + squares.sqrt() * (1 + gamma(step.size + 16))
    else:
        bound = bound + step.offset
    return Lengths(part, up(up(bound * (1 + gamma(8)))))


def _absolute(op: LinearOp, reach: Tensor) -> Tensor:
    """|A| times a vector ≥ 0, or something larger."""
    match op:
        case Dense():
            return replace(op, weight=op.weight.abs()).apply(reach[None])[0]
        case Sliding():
            return replace(op, kernel=op.kernel.abs()).apply(reach[None])[0]
        case Separable():
            return replace(op, matrices=tuple(matrix.abs() for matrix in op.matrices)).apply(reach[None])[0]
        case Diagonal():
            return reach * op.factors.abs()
        case Reduction():
            return replace(op, factor=abs(op.factor)).apply(reach[None])[0]
        case Centering():
            shaped = reach.reshape(1, *op.mean.shape)
            return (shaped + shaped.mean(tuple(axis + 1 for axis in op.mean.axes), keepdim=True)).reshape(-1)
    return torch.full((1,), round_up(op.norm * vector_norm_upper(reach)), dtype=torch.float64)


def _before(signal: Signal, known: dict[int, Range]) -> list[Signal]:
    """A signal and those that it is computed from, without those that are known, in the order of their making."""
    found: dict[int, Signal] = {}
    queue = [signal]
    while queue:
        each = queue.pop()
        if each.order in known or each.order in found:
            continue
        found[each.order] = each
        queue.extend(view.signal for view in each.inputs)
    return [found[order] for order in sorted(found)]

"""Rules for sums: of a signal and a constant, of two signals, of entries along axes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from robench.lipschitz.norms.linear import Centering, Combination, Diagonal, LinearOp, Reduction
from robench.lipschitz.norms.rounding import NOTHING, Growth, Slack
from robench.lipschitz.norms.windows import Convolution
from robench.lipschitz.rules.axes import per_axis
from robench.lipschitz.rules.constants import one_sample, other_constants, per_sample
from robench.lipschitz.rules.powers import Polynomial, polynomial_sum
from robench.lipschitz.rules.residual import residual_block
from robench.lipschitz.rules.squares import add_squares
from robench.lipschitz.rules.strided import strided_block
from robench.lipschitz.trace.linear import Linear
from robench.lipschitz.trace.signals import BATCH, Block, Chain, View
from robench.lipschitz.trace.trace import Call
from robench.lipschitz.trace.values import Squares, Value, depends
from robench.numerics import round_up

aten = torch.ops.aten


def add(call: Call) -> Value:
    """Shift by a constant, or a sum of two signals."""
    left, right = call.args[:2]
    alpha = float(call.get("alpha", 2, 1))
    weights = {"add": (1.0, alpha), "sub": (1.0, -alpha), "rsub": (-alpha, 1.0)}[call.operation]
    gap = float(call.gap(call.get("alpha", 2, 1)))
    if isinstance(left, Squares) or isinstance(right, Squares):
        return add_squares(call, (left, right), weights, gap)
    if depends(left) and depends(right):
        return _sum(call, call.view(0), call.view(1), weights, gap)
    return _shift(call, weights, gap)


def _shift(call: Call, weights: tuple[float, float], gap: float) -> View:
    """A view plus a constant."""
    position = 0 if depends(call.args[0]) else 1
    view, constant, factor = call.view(position), call.args[1 - position], abs(weights[1 - position])
    per_sample(call, call.constant(constant, "constant"), "constant")
    offset = one_sample(call, call.constant(constant, "constant"))
    op = Diagonal(torch.tensor(weights[position], dtype=torch.float64), "shift", terms=1)
    added = factor * offset
    moved = (factor + gap) * one_sample(call, call.gap(constant)) + gap * offset.abs()
    other = Diagonal(torch.tensor(gap, dtype=torch.float64)) if gap else None
    return call.trace.linear(call.trace.spread(view, call.zero), op, call.zero, added, other_constants(other, moved))


def _sum(call: Call, left: View, right: View, weights: tuple[float, float], gap: float) -> View:
    left, right = call.trace.spread(left, call.zero), call.trace.spread(right, call.zero)
    centered = _centering(call, left, right, weights)
    if centered is not None:
        return centered
    together = _same_source(call, left, right, weights, gap)
    if together is not None:
        return together
    slack = Slack(constants=Growth(gap, 0.0))
    return call.trace.total((left, right), weights, call.zero, slack, _residual(left, right, weights))


def _residual(left: View, right: View, weights: tuple[float, float]) -> Block | None:
    """The residual block that a sum is, if it is one."""
    sides = ((left, right, weights), (right, left, weights[::-1]))
    found = (rule(*side) for rule in (residual_block, strided_block) for side in sides)
    return next((block for block in found if block is not None), None)


def _centering(call: Call, left: View, right: View, weights: tuple[float, float]) -> View | None:
    """The map of x to x minus its own mean, spread back over the axes of the mean."""
    if weights != (1.0, -1.0) or not isinstance(right.signal, Linear):
        return None
    mean, view = right.signal.op, right.signal.view
    if not isinstance(mean, Reduction) or mean.operation != "mean":
        return None
    op = Centering(mean)
    if not view.same_as(left):
        return None
    rows = torch.arange(right.signal.size * BATCH).reshape(BATCH, *mean.kept)
    if not torch.equal(rows.expand(BATCH, *mean.shape).reshape(left.shape) + 1, right.index):
        return None
    return call.trace.linear(left, op, call.zero)


@dataclass(frozen=True)
class _Side:
    """One of two linear maps of one signal that are added, with its weight, which is off by `gap` in float32."""

    view: View
    weight: float
    gap: float

    @cached_property
    def chain(self) -> Chain:
        """What rounding does to the map."""
        return self.view.signal.chain_error()

    @property
    def size(self) -> float:
        """The weight in either arithmetic, at most."""
        return abs(self.weight) + self.gap

    @property
    def bound(self) -> float:
        """Upper bound of the norm of the map, times its weight."""
        bound, signal = self.view.norm, self.view.signal
        while isinstance(signal, Linear):
            bound = round_up(bound * signal.step_norm * signal.root.norm, 2)
            signal = signal.root.signal
        return abs(self.weight) * bound

    @property
    def absolute(self) -> float:
        """The same of the map of absolute values."""
        return abs(self.weight) * self.chain.absolute * self.view.norm

    @property
    def offset(self) -> float:
        """Norm of what the map adds."""
        return abs(self.weight) * (self.chain.offset * self.view.norm + self.view.constants)

    @property
    def constants(self) -> tuple[Growth, Growth]:
        """What other constants do: to the map, and to the weight."""
        chain, view = self.chain, self.view
        whole = Growth(chain.absolute, chain.offset) + chain.slack.constants
        own = (chain.slack.constants.scale(view.norm) + view.constant_error).scale(self.size)
        return own, (whole.scale(view.norm) + Growth(0.0, view.constants)).scale(self.gap)

    def apply(self, x: Tensor) -> Tensor:
        """The map."""
        return self.view.take(self.view.signal.from_source(x))


def _same_source(call: Call, left: View, right: View, weights: tuple[float, float], gap: float) -> View | None:
    """A sum of two linear maps of one signal is one linear map of it."""
    source = left.signal.source
    if right.signal.source is not source:
        return None
    sides = [_Side(view, weight, gap) for view, weight in zip((left, right), weights, strict=True)]
    polynomial = polynomial_sum(call.trace, left, right, weights)
    slope = polynomial.slope if polynomial is not None and len(polynomial.coefficients) > 2 else None
    absolute = round_up(sum(side.absolute for side in sides), 3)
    terms = 4 + sum(side.chain.terms + side.view.copies for side in sides)
    offset = 0.0
    for side in sides:
        offset = round_up(offset + side.offset, 4)
    for plain, branch, own in ((left, right, weights), (right, left, weights[::-1])) if slope is None else ():
        signal = branch.signal
        if not isinstance(signal, Linear) or not branch.whole or not signal.view.same_as(plain):
            continue
        joined = _residual_kernel(signal.op, own)
        if joined is not None:
            joined.terms = terms
            result = call.trace.linear(signal.view, joined, call.zero, offset, _of_residual(signal, weights, gap))
            return _remembered(call, result, polynomial)
    slack = Slack(
        constants=sum((growth for side in sides for growth in side.constants), NOTHING),
        units=sum((side.chain.slack.units.scale(side.view.norm * side.size) for side in sides), NOTHING),
        underflow=sum((side.chain.slack.underflow.scale(side.view.norm * side.size) for side in sides), NOTHING),
    )
    if polynomial is not None and slope is not None:
        bound = _Side(polynomial.base, round_up(slope), 0.0).bound
    else:
        bound = round_up(sum(side.bound for side in sides), 3)
    op = Combination(tuple(side.apply for side in sides), weights, round_up(bound), absolute, terms=terms)
    result = call.trace.linear(source.whole, op, call.zero, offset, slack)
    if polynomial is not None and slope is not None and isinstance(result.signal, Linear):
        result.signal.block = Block(polynomial.base, slope)
    return _remembered(call, result, polynomial)


def _remembered(call: Call, result: View, polynomial: Polynomial | None) -> View:
    """The result, of which the polynomial is kept."""
    if polynomial is not None:
        call.trace.polynomials[result.signal.order] = polynomial
    return result


def _of_residual(branch: Linear, weights: tuple[float, float], gap: float) -> Slack:
    """Of X + K * x as one operation on x."""
    size, own = max(map(abs, weights)) + gap, branch.slack.constants
    kernel = round_up(branch.op.absolute_norm + own.slope + 1)
    constants = own.scale(size) + Growth(kernel, branch.offset).scale(gap)
    return Slack(constants, branch.slack.units.scale(size), branch.underflow.scale(size))


def _residual_kernel(op: LinearOp, weights: tuple[float, float]) -> Convolution | None:
    """The sum a x + b K * x as one convolution, where K keeps the size (as in LiResNet)."""
    if not isinstance(op, Convolution) or op.geometry.circular or any(s != 1 for s in op.geometry.stride):
        return None
    out, inner = op.kernel.shape[1:3]
    middle = tuple(
        before // d if before % d == 0 and before // d < taps else -1
        for (before, _), d, taps in zip(op.padding, op.geometry.dilation, op.kernel.shape[3:], strict=True)
    )
    if out != inner or -1 in middle or op.output_size != op.geometry.size:
        return None
    kernel = op.kernel * weights[1]
    diagonal = torch.arange(out)
    at: tuple[Any, ...] = (slice(None), diagonal, diagonal, *middle)
    kernel[at] += weights[0]
    return Convolution(kernel, op.geometry, op.padding, op.lead, op.output_size, operation="residual conv")


def reduce(call: Call) -> Value:
    """A sum or mean over axes of a sample."""
    value = call.args[0]
    shape = tuple(value.zero.shape)
    dims = call.get("dim", 1)
    if dims is None:
        raise call.refusal("it mixes the samples of a batch")
    axes = tuple(sorted(axis % len(shape) for axis in per_axis(dims, 1))) or tuple(range(len(shape)))
    if 0 in axes:
        raise call.refusal("it mixes the samples of a batch")
    count = math.prod(shape[axis] for axis in axes)
    factor = 1.0 / count if call.operation == "mean" else 1.0
    if isinstance(value, Squares):
        scale = round_up(factor) if factor != 1.0 else 1.0
        return value.weighted(call.zero, scale, round_up(scale * count), count + 1)
    sample = (shape[0] // BATCH, *shape[1:])
    return call.trace.linear(call.view(), Reduction(sample, axes, factor, call.operation), call.zero)


def scaled_sum(call: Call) -> Value:
    """The sum a + v·b·c, or a + v·b/c."""
    product = call.trace.call(aten.mul.Tensor if call.operation == "addcmul" else aten.div.Tensor, *call.args[1:3])
    factor = call.get("value", 3, 1)
    if factor != 1:
        product = call.trace.call(aten.mul.Tensor, product, factor)
    return call.trace.call(aten.add.Tensor, call.args[0], product)


def interpolate_between(call: Call) -> Value:
    """The sum (1 − w)·a + w·b."""
    start, end, weight = call.args
    share = call.constant(weight, "weight")
    gap = call.gap(weight)
    if share.numel() > 1 or not (isinstance(start, View) and isinstance(end, View)):
        own, other = 1.0 - share, share
        if bool(gap.any()) or bool((own.float().double() != own).any()):
            call.trace.refuse_float32("the two shares of a lerp are other numbers there")
        parts = [call.trace.call(aten.mul.Tensor, *pair) for pair in ((start, own), (end, other))]
        return call.trace.call(aten.add.Tensor, *parts)
    start, end = call.trace.spread(start, call.zero), call.trace.spread(end, call.zero)
    number = float(share)
    size = 2.0 + 2 * abs(number)
    moved = round_up(float(gap.max()) + 2.0**-24 * size, 3)  # either share, and what 1 − w loses
    slack = Slack(constants=Growth(moved, 0.0), units=Growth(4 * size, 0.0))
    return call.trace.total((start, end), (1.0 - number, number), call.zero, slack)

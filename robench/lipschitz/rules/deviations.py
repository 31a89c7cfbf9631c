"""Rules for layers that divide by the deviation of their own input, over a box of inputs.

v ↦ (v − mean) / √(var + ε) has the Jacobian (P − y yᵀ/n) / √(var + ε), P the centering: it lies between 0 and
P / √(var + ε), so its norm is at most 1 / √(var + ε) (docs/design/0018-boxes.md §4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from robench.lipschitz.norms.rounding import MOMENTS, SMALLEST, UNITS, Growth, rounding
from robench.lipschitz.rules import scalings
from robench.lipschitz.trace.nonlinear import Function, Nonlinear
from robench.lipschitz.trace.ranges import Lengths, Range, Ranges
from robench.lipschitz.trace.signals import BATCH, View
from robench.lipschitz.trace.trace import Call
from robench.lipschitz.trace.values import Value
from robench.numerics import gamma, round_down, round_up

aten = torch.ops.aten


@dataclass(eq=False)
class Normalized(Nonlinear):
    """Rows divided by their deviation.

    Fields:
        ranges: of the box.
        count: entries of a row.
        epsilon: what is added to the variance.
        centered: whether the mean is taken off.
    """

    ranges: Ranges
    count: int
    epsilon: float
    centered: bool

    def _error(self, arithmetic: str) -> Growth:
        view, unit, smallest = self.inputs[0], UNITS[arithmetic], SMALLEST[arithmetic]
        box = self.ranges.box
        before = box.at(view.error(arithmetic))
        largest = round_up(float(self.ranges.of_view(view).largest.max()) + before)
        slope = least_slope(self.ranges, view, self.count, self.epsilon, self.centered, before)
        moments = rounding(self.count + 16, unit)
        off = MOMENTS * moments * largest * largest + (2 * self.count + 8) * smallest * (1 + largest)
        relative = round_up(off * slope * slope + 2 * unit, 8)
        if not relative <= 0.5:
            return Growth(0.0, math.inf)
        own = 4 * slope * (moments * largest + smallest) + relative + 2 * rounding(8, unit)
        own = own + (2 * self.count + 16) * smallest * (slope + 1)
        return Growth(0.0, round_up(slope * before + math.sqrt(self.size) * own, 16))


def least_slope(ranges: Ranges, view: View, count: int, epsilon: float, centered: bool, more: float = 0.0) -> float:
    """1 / √(least variance + ε), rounded up, over all that the view may be in the box.

    Args:
        ranges: of the box.
        view: rows one after the other.
        count: entries of a row.
        epsilon: what is added to the variance.
        centered: whether the mean is taken off.
        more: how far, in the L2 norm, the view may be from its values in the box.
    """
    at = view.zero.reshape(BATCH, -1)[0].reshape(-1, count)
    moved = ranges.deviation(view).reshape(-1, count)
    reach = moved.square().sum(1).sqrt() * (1 + gamma(count + 16)) + more
    ball = round_up(round_up(view.lipschitz * ranges.box.radius) + view.error("float64").offset + more, 4)
    spread = at - at.mean(1, keepdim=True) if centered else at
    rounded = at.abs().amax(1) * gamma(2 * count + 32) * math.sqrt(count)
    found = spread.square().sum(1).sqrt() * (1 - gamma(count + 16)) - rounded
    least = (found - reach.clamp_max(ball) * (1 + gamma(8))).clamp_min(0.0) * (1 - gamma(8))
    variance = round_down(float(least.square().min()) / count, 8)
    return round_up(1 / round_down(math.sqrt(round_down(max(variance, 0.0) + epsilon, 2)), 2), 2)


def _normalized(call: Call, view: View, count: int, epsilon: float, centered: bool) -> View:
    """Each row of `count` entries, without weights."""
    if not epsilon > 0:
        raise call.refusal("it divides by a deviation to which it adds nothing, so that it has no bounded slope")
    ranges, rows = call.trace.over_box, view.zero.reshape(-1, count)
    off = rows - rows.mean(1, keepdim=True) if centered else rows
    zero = (off / (off.square().mean(1, keepdim=True) + epsilon).sqrt()).reshape(view.shape)
    slope = least_slope(ranges, view, count, epsilon, centered)
    function = Function("normalization", slope, terms=8)
    signal = Normalized(call.trace.where, zero, (view,), function, view.lipschitz, ranges, count, epsilon, centered)
    size = torch.full((view.size,), round_up(math.sqrt(count - 1 if centered else count), 2), dtype=torch.float64)
    parts = torch.arange(view.size // count).repeat_interleave(count)
    length = torch.full((view.size // count,), round_up(math.sqrt(count), 2), dtype=torch.float64)
    ranges.state(signal, Range(-size, size), Lengths(parts, length))
    return call.trace.add(signal)


def _scaled(call: Call, view: View, weight: Value, bias: Value) -> View:
    for constant, target in ((weight, aten.mul.Tensor), (bias, aten.add.Tensor)):
        if constant is not None:
            view = call.trace.call(target, view, constant)
    return view


def layer_norm(call: Call) -> Value:
    """Over the last axes."""
    view, count = call.view(), math.prod(call.args[1])
    if len(call.args[1]) >= len(view.shape):
        raise call.refusal("it mixes the samples of a batch")
    native = call.operation == "native_layer_norm"
    epsilon = float(call.get("eps", 4, 1e-5))
    result = _scaled(call, _normalized(call, view, count, epsilon, True), call.get("weight", 2), call.get("bias", 3))
    return [result, *call.zero[1:]] if native else result


def rms_norm(call: Call) -> Value:
    """Over the last axes, without the mean."""
    view, count, epsilon = call.view(), math.prod(call.args[1]), call.get("eps", 3)
    if len(call.args[1]) >= len(view.shape):
        raise call.refusal("it mixes the samples of a batch")
    if epsilon is None:
        call.trace.refuse_float32("an RMS norm has another ε there, the roundoff of its precision")
        epsilon = torch.finfo(torch.float64).eps
    epsilon = float(epsilon)
    return _scaled(call, _normalized(call, view, count, epsilon, False), call.get("weight", 2), None)


def group_norm(call: Call) -> Value:
    """Over groups of channels, and all positions."""
    view = call.view()
    native = call.operation == "native_group_norm"
    groups, epsilon = int(call.args[6 if native else 1]), float(call.args[7] if native else call.get("eps", 4, 1e-5))
    weight, bias = (call.args[1], call.args[2]) if native else (call.get("weight", 2), call.get("bias", 3))
    result = _by_channel(call, _normalized(call, view, view.size // view.lead // groups, epsilon, True), weight, bias)
    return [result, *call.zero[1:]] if native else result


def instance_norm(call: Call) -> Value:
    """Over all positions of a channel; with running statistics, a batch norm."""
    if not call.get("use_input_stats", 5, True):
        return scalings.instance_norm(call)
    view = call.view()
    count = math.prod(view.shape[2:])
    result = _normalized(call, view, count, float(call.get("eps", 7, 1e-5)), True)
    return _by_channel(call, result, call.get("weight", 1), call.get("bias", 2))


def _by_channel(call: Call, view: View, weight: Value, bias: Value) -> View:
    shape = (-1, *(1 for _ in view.shape[2:]))
    return _scaled(call, view, *(_reshaped(call, item, shape) for item in (weight, bias)))


def _reshaped(call: Call, constant: Value, shape: tuple[int, ...]) -> Value:
    """A constant of another shape, in float32 too."""
    if constant is None:
        return None
    reshaped = call.constant(constant, "weight").reshape(shape)
    call.trace.deployed.pair(reshaped, call.float32(constant).reshape(shape))
    return reshaped

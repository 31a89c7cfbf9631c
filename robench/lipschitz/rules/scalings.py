"""Rules for factors and shifts of entries: products with constants, normalisation with fixed statistics."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from robench.lipschitz.norms.linear import Diagonal
from robench.lipschitz.rules.constants import other_constants, per_sample
from robench.lipschitz.rules.squares import product, scaled_squares
from robench.lipschitz.rules.transforms import scaled
from robench.lipschitz.trace.signals import BATCH, View
from robench.lipschitz.trace.spectrum import spectrum_of
from robench.lipschitz.trace.trace import Call
from robench.lipschitz.trace.values import Squares, Value, apart, depends

aten = torch.ops.aten


def multiply(call: Call) -> Value:
    """A scaling by constants; the square of a signal, which waits for its root."""
    left, right = call.args[:2]
    if call.operation == "div" and call.get("rounding_mode", 2) is not None:
        raise call.refusal("it rounds, which is not continuous")
    if call.operation == "div" and depends(right):
        raise call.refusal("it divides by something that depends on the input, and robench has no rule for quotients")
    if depends(left) and depends(right):
        return product(call, left, right)
    value, constant = (left, right) if depends(left) else (right, left)
    if call.zero.is_complex() and isinstance(value, View):
        spectrum = spectrum_of(value)
        args = (spectrum, right) if depends(left) else (left, spectrum)
        return scaled(replace(call, args=args), spectrum)
    factors, narrow = call.constant(constant, "factor"), call.float32(constant)
    if call.operation == "div":
        if bool((factors == 0).any()):
            raise call.refusal("it divides by 0")
        if bool((narrow.abs() < 2.0**-100).any()):
            call.trace.refuse_float32("a divisor is next to 0 there")
            narrow = factors
        factors, narrow = 1.0 / factors, 1.0 / narrow
    flat = per_sample(call, factors, "factor")
    narrow = narrow.expand(call.zero.shape).reshape(BATCH, -1)[0]
    gap = apart(flat.expand(narrow.shape), narrow)
    if isinstance(value, Squares):
        if bool((flat < 0).any()) or value.zero.shape != call.zero.shape:
            raise call.refusal("it makes a sum of squares negative")
        return scaled_squares(call, value, flat, gap)
    view = call.view(0 if depends(left) else 1)
    factor = Diagonal(flat, "scale", terms=3)
    other = Diagonal(gap) if bool(gap.any()) else None
    return call.trace.linear(call.trace.spread(view, call.zero), factor, call.zero, slack=other_constants(other, None))


def negate(call: Call) -> Value:
    """−x."""
    return call.trace.linear(call.view(), Diagonal(torch.tensor(-1.0, dtype=torch.float64), "negation", 0), call.zero)


def batch_norm(call: Call) -> Value:
    """Fixed statistics: scale by γ/√(var + ε), channel by channel."""
    from_args = call.operation == "_native_batch_norm_legit_no_training"
    mean, variance = call.args[3], call.args[4]
    if mean is None or variance is None:
        raise call.refusal("it keeps no running statistics, so it uses those of the batch in evaluation mode too")
    if not from_args and call.get("training", 5, True):
        raise call.refusal("it uses the statistics of the batch; call `model.eval()` first")
    epsilon = call.args[6] if from_args else call.args[7]
    variance = call.constant(variance, "running variance")
    weight = torch.ones_like(variance) if call.args[1] is None else call.constant(call.args[1], "weight")
    bias = torch.zeros_like(variance) if call.args[2] is None else call.constant(call.args[2], "bias")
    scale = weight / torch.sqrt(variance + float(epsilon))
    slack_of = _other_statistics(call, scale, mean, call.args[4], epsilon)
    zero = call.zero[0] if isinstance(call.zero, list | tuple) else call.zero
    shape = (1, -1, *(1 for _ in zero.shape[2:]))
    spread_to = (zero.shape[0] // BATCH, *zero.shape[1:])
    factors = scale.reshape(shape).expand(spread_to).reshape(-1)
    shift = call.constant(mean, "running mean").abs() * scale.abs() + bias.abs()
    offset = shift.reshape(shape).expand(spread_to)
    gaps, added = (item.reshape(shape).expand(spread_to) for item in slack_of)
    other = Diagonal(gaps.reshape(-1)) if bool(gaps.any()) else None
    slack = other_constants(other, added)
    result = call.trace.linear(call.view(), Diagonal(factors, "batch_norm", terms=12), zero, offset, slack)
    return result if not isinstance(call.zero, list | tuple) else [result, *call.zero[1:]]


def _other_statistics(call: Call, scale: Tensor, mean: Value, variance: Value, epsilon: float) -> tuple[Tensor, Tensor]:
    """How far the factors and what is added are from those that follow from the constants in float32."""
    center, narrow_center = call.constant(mean, "running mean"), call.float32(mean)
    under_root = call.float32(variance) + float(call.float32(epsilon))
    if bool((under_root < 2.0**-100).any()):
        call.trace.refuse_float32("a variance is next to 0 there")
        return torch.zeros_like(scale), torch.zeros_like(scale)
    weight = torch.ones_like(scale) if call.args[1] is None else call.float32(call.args[1])
    narrow = weight / torch.sqrt(under_root)
    bias = torch.zeros_like(scale) if call.args[2] is None else call.gap(call.args[2])
    return apart(scale, narrow), bias + apart(center * scale, narrow_center * narrow)


def instance_norm(call: Call) -> Value:
    """A batch norm with fixed statistics, where it keeps some; else each sample is divided by its own deviation."""
    if call.get("use_input_stats", 5, True):
        raise call.refusal("it divides each channel by its own deviation, which has no bounded slope near 0")
    values = (*call.args[1:5], False, 0.0, float(call.args[7]), False)
    return call.trace.call(aten.batch_norm.default, call.view(), *values)

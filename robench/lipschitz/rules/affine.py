"""Rules for affine operations: matrices, convolutions, scalings, shifts, sums, normalisation with fixed statistics."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from robench.lipschitz.norms.linear import Centering, Combination, Dense, Diagonal, LinearOp, Reduction
from robench.lipschitz.norms.rounding import EXACT, NOTHING, Growth, Slack, vector_norm_upper
from robench.lipschitz.norms.torus import Geometry
from robench.lipschitz.norms.windows import Convolution, Sliding, TransposedConvolution
from robench.lipschitz.rules.residual import residual_slope
from robench.lipschitz.trace.linear import Linear
from robench.lipschitz.trace.signals import BATCH, View
from robench.lipschitz.trace.trace import Call
from robench.lipschitz.trace.values import SignOf, Squares, Value, apart, depends
from robench.numerics import round_up

aten = torch.ops.aten


def per_sample(call: Call, constant: Tensor, what: str) -> Tensor:
    """A constant spread over the result, of one sample, flat; a scalar if all entries are equal.

    Raises:
        BoundError: it is not the same for each sample of the batch.
    """
    spread = constant.expand(call.zero.shape).reshape(BATCH, -1)
    if not torch.equal(spread[0], spread[1]):
        raise call.refusal(f"its {what} differs from sample to sample")
    flat = spread[0].contiguous()
    if not flat.numel():
        return flat.new_ones(())
    return flat[0].clone() if bool((flat == flat[0]).all()) else flat


def other_constants(difference: LinearOp | None, offset: Tensor | None) -> Slack:
    """What a linear operation is off by in float32: ΔA, as an operation with entries |ΔA|, and the change it adds."""
    matrix = 0.0 if difference is None else difference.absolute_norm
    added = 0.0 if offset is None else vector_norm_upper(offset)
    return Slack(constants=Growth(matrix, added)) if matrix or added else EXACT


def _sample(call: Call, offset: Tensor) -> Tensor:
    return offset.expand(call.zero.shape)[: call.zero.shape[0] // BATCH]


def linear(call: Call) -> Value:
    """The map x Wᵀ + b."""
    weight = call.constant(call.args[1], "weight")
    return _dense(call, call.view(), weight, call.gap(call.args[1]), call.get("bias", 2))


def _dense(call: Call, view: View, weight: Tensor, gap: Tensor, bias: Value) -> View:
    offset = 0.0 if bias is None else _sample(call, call.constant(bias, "bias"))
    added = None if bias is None else _sample(call, call.gap(bias))
    slack = other_constants(Dense(gap) if bool(gap.any()) else None, added)
    return call.trace.linear(view, Dense(weight), call.zero, offset, slack)


def matmul(call: Call) -> Value:
    """A product with a fixed matrix on either side."""
    left, right = call.args[:2]
    if depends(left) and depends(right):
        raise call.refusal("both factors depend on the input, so it grows without bound")
    if depends(left):
        matrix = call.constant(right, "matrix")
        view = call.view()
        if matrix.dim() > 2 or len(view.shape) < 2:
            raise call.refusal("it is a product of a batch of matrices")
        turned, gap = (item.T if item.dim() == 2 else item[None] for item in (matrix, call.gap(right)))
        return _dense(call, view, turned, gap, None)
    matrix = call.constant(left, "matrix")
    view = call.view(1)
    if matrix.dim() != 2 or len(view.shape) < 3:
        raise call.refusal("it mixes the samples of a batch")
    columns = call.trace.call(aten.transpose.int, view, -1, -2)
    product = call.trace.call(aten.linear.default, columns, matrix)
    return call.trace.call(aten.transpose.int, product, -1, -2)


def addmm(call: Call) -> Value:
    """The map b + x A."""
    if call.get("beta", 3, 1) != 1 or call.get("alpha", 4, 1) != 1 or depends(call.args[0]):
        raise call.refusal("it is a scaled or shifted product of a form it has no rule for")
    matrix = call.constant(call.args[2], "matrix")
    return _dense(call, call.view(1), matrix.T, call.gap(call.args[2]).T, call.args[0])


def convolution(call: Call) -> Value:
    """A convolution, with its zero padding or the circular padding before it."""
    if call.operation == "convolution" and call.args[6]:
        return _transposed(call, call.args[3], call.args[4], call.args[7], call.args[8], call.args[5])
    weight, view = call.constant(call.args[1], "weight"), call.view()
    axes = weight.dim() - 2
    if len(view.shape) != axes + 2:
        raise call.refusal("it has no batch axis")
    stride = _tuple(call.get("stride", 3, 1), axes)
    dilation = _tuple(call.get("dilation", 5, 1), axes)
    groups = call.args[8] if call.operation == "convolution" else call.get("groups", 6, 1)
    padding = _padding(call.get("padding", 4, 0), weight, dilation)
    output = tuple(call.zero.shape[2:])
    kernel, gap = (item.reshape(groups, -1, *weight.shape[1:]) for item in (weight, call.gap(call.args[1])))
    closed = view.closed
    if closed is not None and not any(map(any, padding)):
        inner, pads = closed
        size = inner.shape[2:]
        if (
            len(pads) == axes
            and all(n % s == 0 for n, s in zip(size, stride, strict=True))
            and all(out * s <= n for out, s, n in zip(output, stride, size, strict=True))
        ):
            geometry = Geometry(tuple(size), stride, dilation, circular=True)
            op = Convolution(kernel, geometry, pads, inner.lead, output, operation=call.operation)
            return call.trace.linear(inner, op, call.zero, _channels(call), _other_kernel(call, op, gap))
    geometry = Geometry(tuple(view.shape[2:]), stride, dilation, padding=padding)
    op = Convolution(kernel, geometry, padding, view.lead, output, operation=call.operation)
    return call.trace.linear(view, op, call.zero, _channels(call), _other_kernel(call, op, gap))


def _other_kernel(call: Call, op: Sliding, gap: Tensor) -> Slack:
    bias = call.get("bias", 2)
    added = None if bias is None else _by_channel(call, call.gap(bias))
    return other_constants(replace(op, kernel=gap) if bool(gap.any()) else None, added)


def _channels(call: Call) -> Tensor | float:
    """The bias, spread over the result of one sample."""
    bias = call.get("bias", 2)
    return 0.0 if bias is None else _by_channel(call, call.constant(bias, "bias"))


def _by_channel(call: Call, values: Tensor) -> Tensor:
    shape = (call.zero.shape[0] // BATCH, *call.zero.shape[1:])
    return values.reshape(-1, *(1 for _ in shape[2:])).expand(shape)


def _tuple(value: Any, axes: int) -> tuple[int, ...]:
    items = (value,) if isinstance(value, int) else tuple(value)
    return items * axes if len(items) == 1 else items


def _padding(value: Any, weight: Tensor, dilation: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """(before, after) of each axis; `same` puts the odd zero after, as torch does."""
    axes = len(dilation)
    if value == "valid":
        return ((0, 0),) * axes
    if value == "same":
        totals = [d * (taps - 1) for d, taps in zip(dilation, weight.shape[2:], strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((side, side) for side in _tuple(value, axes))


def conv_transpose(call: Call) -> Value:
    """The adjoint of a convolution."""
    return _transposed(
        call,
        call.get("stride", 3, 1),
        call.get("padding", 4, 0),
        call.get("output_padding", 5, 0),
        call.get("groups", 6, 1),
        call.get("dilation", 7, 1),
    )


def _transposed(call: Call, stride: Any, padding: Any, output_padding: Any, groups: int, dilation: Any) -> View:
    weight, view = call.constant(call.args[1], "weight"), call.view()
    axes = weight.dim() - 2
    stride, dilation, padding = _tuple(stride, axes), _tuple(dilation, axes), _tuple(padding, axes)
    size = tuple(call.zero.shape[2:])
    # of the forward convolution: reads the result, gives the input; weight is (in, out / groups, *taps) there too
    kernel, gap = (item.reshape(groups, -1, *weight.shape[1:]) for item in (weight, call.gap(call.args[1])))
    pads = tuple((side, side) for side in padding)
    geometry = Geometry(size, stride, dilation, padding=pads)
    op = TransposedConvolution(kernel, geometry, pads, view.lead)
    if op.input_size != tuple(view.shape[2:]):
        raise call.refusal(f"its output padding {output_padding} does not fit its stride")
    return call.trace.linear(view, op, call.zero, _channels(call), _other_kernel(call, op, gap))


def add(call: Call) -> Value:
    """Shift by a constant, or a sum of two signals."""
    left, right = call.args[:2]
    alpha = float(call.get("alpha", 2, 1))
    weights = {"add": (1.0, alpha), "sub": (1.0, -alpha), "rsub": (-alpha, 1.0)}[call.operation]
    gap = float(call.gap(call.get("alpha", 2, 1)))
    if isinstance(left, Squares) or isinstance(right, Squares):
        return _add_squares(call, (left, right), weights, gap)
    if depends(left) and depends(right):
        return _sum(call, call.view(0), call.view(1), weights, gap)
    position = 0 if depends(left) else 1
    view, constant = call.view(position), (right, left)[position]
    offset = call.constant(constant, "constant").expand(call.zero.shape)
    per_sample(call, offset, "constant")
    op = Diagonal(torch.tensor(weights[position], dtype=torch.float64), "shift", terms=1)
    added = abs(weights[1 - position]) * _sample(call, offset)
    moved = (abs(weights[1 - position]) + gap) * _sample(call, call.gap(constant)) + gap * _sample(call, offset).abs()
    other = Diagonal(torch.tensor(gap, dtype=torch.float64)) if gap else None
    return call.trace.linear(call.trace.spread(view, call.zero), op, call.zero, added, other_constants(other, moved))


def _add_squares(call: Call, sides: tuple[Value, Value], weights: tuple[float, float], gap: float) -> Squares:
    parts: list[tuple[float, View]] = []
    terms, relative, constant, underflow = 1, 0.0, 0.0, 4.0
    for side, weight in zip(sides, weights, strict=True):
        if isinstance(side, Squares) and weight > 0 and side.zero.shape == call.zero.shape:
            scaled = side.weighted(call.zero, weight, weight, 1, 2.0**-23 + gap / weight if weight != 1.0 else 0.0)
            parts.extend(scaled.parts)
            terms += scaled.terms
            relative = max(relative, scaled.relative)
            constant, underflow = round_up(math.hypot(constant, scaled.constant)), underflow + scaled.underflow
        elif depends(side) or bool((call.constant(side, "constant") * weight < 0).any()):
            raise call.refusal("it makes a sum of squares negative, or adds something else to it")
        else:
            own, twin = (value * weight for value in (call.constant(side, "constant"), call.twin(side)))
            moved = float(apart(own.sqrt(), twin.clamp_min(0.0).sqrt()).max())
            constant = round_up(
                math.hypot(constant, moved + (2.0**-23 + (gap / abs(weight) if gap else 0.0)) * float(own.max().sqrt()))
            )
    return Squares(tuple(parts), call.zero, terms, relative, constant, underflow)


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


def _residual(left: View, right: View, weights: tuple[float, float]) -> tuple[View, float] | None:
    """The view that a residual block starts from, and its constant, where the sum is one."""
    for skip, branch, own in ((left, right, weights), (right, left, weights[::-1])):
        slope = residual_slope(skip, branch, own)
        if slope is not None:
            return skip, slope
    return None


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


def _same_source(call: Call, left: View, right: View, weights: tuple[float, float], gap: float) -> View | None:
    """A sum of two linear maps of one signal is one linear map of it."""
    source = left.signal.source
    if right.signal.source is not source:
        return None
    bounds, absolutes, terms, offset = [], [], 4, 0.0
    constants = units = underflow = NOTHING
    for view, weight in zip((left, right), weights, strict=True):
        chain = view.signal.chain_error()
        bounds.append(abs(weight) * _map_norm(view))
        absolutes.append(abs(weight) * chain.absolute * view.norm)
        offset = round_up(offset + abs(weight) * (chain.offset * view.norm + view.constants), 4)
        terms += chain.terms + view.copies
        size = abs(weight) + gap
        whole = Growth(chain.absolute, chain.offset) + chain.slack.constants
        constants = constants + (chain.slack.constants.scale(view.norm) + view.constant_error).scale(size)
        constants = constants + (whole.scale(view.norm) + Growth(0.0, view.constants)).scale(gap)
        units = units + chain.slack.units.scale(view.norm * size)
        underflow = underflow + chain.slack.underflow.scale(view.norm * size)
    op: LinearOp = Combination(
        tuple(_map(view) for view in (left, right)),
        weights,
        round_up(sum(bounds), 3),
        round_up(sum(absolutes), 3),
        terms=terms,
    )
    for plain, branch, own in ((left, right, weights), (right, left, weights[::-1])):
        joined = _residual_kernel(plain, branch, own)
        if joined is not None:
            assert isinstance(branch.signal, Linear)
            joined.terms = terms
            return call.trace.linear(
                branch.signal.view, joined, call.zero, offset, _of_residual(branch.signal, weights, gap)
            )
    return call.trace.linear(source.whole, op, call.zero, offset, Slack(constants, units, underflow))


def _of_residual(branch: Linear, weights: tuple[float, float], gap: float) -> Slack:
    """Of X + K * x as one operation on x."""
    size, own = max(map(abs, weights)) + gap, branch.slack.constants
    kernel = round_up(branch.op.absolute_norm + own.slope + 1)
    constants = own.scale(size) + Growth(kernel, branch.offset).scale(gap)
    return Slack(constants, branch.slack.units.scale(size), branch.underflow.scale(size))


def _map(view: View) -> Any:
    return lambda x: view.take(view.signal.from_source(x))


def _map_norm(view: View) -> float:
    """Upper bound of the norm of the linear map from the source to a view."""
    bound, signal = view.norm, view.signal
    while isinstance(signal, Linear):
        bound = round_up(bound * signal.step_norm * signal.root.norm, 2)
        signal = signal.root.signal
    return bound


def _residual_kernel(plain: View, branch: View, weights: tuple[float, float]) -> Convolution | None:
    """The sum x + K * x as one convolution, where K keeps the size (as in LiResNet)."""
    if not isinstance(branch.signal, Linear) or not branch.whole or not branch.signal.view.same_as(plain):
        return None
    op = branch.signal.op
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


def multiply(call: Call) -> Value:
    """A scaling by constants; the square of a signal, which waits for its root."""
    left, right = call.args[:2]
    if call.operation == "div" and call.get("rounding_mode", 2) is not None:
        raise call.refusal("it rounds, which is not continuous")
    if call.operation == "div" and depends(right):
        raise call.refusal("it divides by something that depends on the input, and robench has no rule for quotients")
    if depends(left) and depends(right):
        return _product(call, left, right)
    value, constant = (left, right) if depends(left) else (right, left)
    factors, twins = call.constant(constant, "factor"), call.twin(constant)
    if call.operation == "div":
        if bool((factors == 0).any()):
            raise call.refusal("it divides by 0")
        if bool((twins.abs() < 2.0**-100).any()):
            call.trace.refuse_float32("a divisor is next to 0 there")
            twins = factors
        factors, twins = 1.0 / factors, 1.0 / twins
    flat = per_sample(call, factors, "factor")
    twins = twins.expand(call.zero.shape).reshape(BATCH, -1)[0]
    gap = apart(flat.expand(twins.shape), twins)
    if isinstance(value, Squares):
        if bool((flat < 0).any()) or value.zero.shape != call.zero.shape:
            raise call.refusal("it makes a sum of squares negative")
        return _scaled_squares(call, value, flat, gap)
    view = call.view(0 if depends(left) else 1)
    scaled = Diagonal(flat, "scale", terms=3)
    other = Diagonal(gap) if bool(gap.any()) else None
    return call.trace.linear(call.trace.spread(view, call.zero), scaled, call.zero, slack=other_constants(other, None))


def _scaled_squares(call: Call, value: Squares, factors: Tensor, gap: Tensor) -> Squares:
    if bool((gap[factors.expand(gap.shape) == 0] > 0).any()):
        call.trace.refuse_float32("a factor of a sum of squares is 0 in float64 and another number there")
    relative = torch.where(gap > 0, gap / factors, 0.0).nan_to_num(0.0, 0.0, 0.0)
    scale = round_up(float(factors.max()), 2)
    return value.weighted(call.zero, scale, scale, 2, float(relative.max()))


def _product(call: Call, left: Value, right: Value) -> Value:
    if call.operation == "mul":
        if isinstance(left, View) and isinstance(right, View) and left.same_as(right):
            return Squares(((1.0, left),), call.zero, 1)
        for sign, squares in ((left, right), (right, left)):
            if isinstance(sign, SignOf) and isinstance(squares, Squares) and sign.squares is squares:
                return squares  # they are not negative, so their sign changes nothing
    raise call.refusal("both operands depend on the input, so it grows without bound")


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
    centre, twin_centre = call.constant(mean, "running mean"), call.twin(mean)
    under_root = call.twin(variance) + float(call.twin(epsilon))
    if bool((under_root < 2.0**-100).any()):
        call.trace.refuse_float32("a variance is next to 0 there")
        return torch.zeros_like(scale), torch.zeros_like(scale)
    weight = torch.ones_like(scale) if call.args[1] is None else call.twin(call.args[1])
    twin = weight / torch.sqrt(under_root)
    bias = torch.zeros_like(scale) if call.args[2] is None else call.gap(call.args[2])
    return apart(scale, twin), bias + apart(centre * scale, twin_centre * twin)


def instance_norm(call: Call) -> Value:
    """A batch norm with fixed statistics, where it keeps some; else each sample is divided by its own deviation."""
    if call.get("use_input_stats", 5, True):
        raise call.refusal("it divides each channel by its own deviation, which has no bounded slope near 0")
    values = (*call.args[1:5], False, 0.0, float(call.args[7]), False)
    return call.trace.call(aten.batch_norm.default, call.view(), *values)


def reduce(call: Call) -> Value:
    """A sum or mean over axes of a sample."""
    value = call.args[0]
    shape = tuple(value.zero.shape)
    dims = call.get("dim", 1)
    if dims is None:
        raise call.refusal("it mixes the samples of a batch")
    axes = tuple(sorted(axis % len(shape) for axis in _tuple(dims, 1))) or tuple(range(len(shape)))
    if 0 in axes:
        raise call.refusal("it mixes the samples of a batch")
    count = math.prod(shape[axis] for axis in axes)
    factor = 1.0 / count if call.operation == "mean" else 1.0
    if isinstance(value, Squares):
        scale = round_up(factor) if factor != 1.0 else 1.0
        return value.weighted(call.zero, scale, round_up(scale * count), count + 1)
    sample = (shape[0] // BATCH, *shape[1:])
    return call.trace.linear(call.view(), Reduction(sample, axes, factor, call.operation), call.zero)

"""Rules for convolutions and their adjoints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from robench.lipschitz.norms.rounding import Slack
from robench.lipschitz.norms.torus import Geometry
from robench.lipschitz.norms.windows import Convolution, Sliding, TransposedConvolution
from robench.lipschitz.rules.axes import per_axis
from robench.lipschitz.rules.constants import other_constants
from robench.lipschitz.trace.signals import BATCH, View, Wrapped
from robench.lipschitz.trace.trace import Call
from robench.lipschitz.trace.values import Value


def convolution(call: Call) -> Value:
    """A convolution, with its zero padding or the circular padding before it."""
    if call.operation == "convolution" and call.args[6]:
        return _transposed(call, call.args[3], call.args[4], call.args[7], call.args[8], call.args[5])
    weight, view = call.constant(call.args[1], "weight"), call.view()
    axes = weight.dim() - 2
    if len(view.shape) != axes + 2:
        raise call.refusal("it has no batch axis")
    stride = per_axis(call.get("stride", 3, 1), axes)
    dilation = per_axis(call.get("dilation", 5, 1), axes)
    groups = call.args[8] if call.operation == "convolution" else call.get("groups", 6, 1)
    padding = _padding(call.get("padding", 4, 0), weight, dilation)
    output = tuple(call.zero.shape[2:])
    kernel, gap = (item.reshape(groups, -1, *weight.shape[1:]) for item in (weight, call.gap(call.args[1])))
    geometry = Geometry(tuple(view.shape[2:]), stride, dilation, padding=padding)
    wrapped = view.wrapped
    if wrapped is not None and wrapped.zeros and len(wrapped.pads) == axes:
        view = wrapped.view
        padding = tuple((a + c, b + d) for (a, b), (c, d) in zip(wrapped.pads, padding, strict=True))
        geometry = Geometry(tuple(view.shape[2:]), stride, dilation, padding=padding)
    elif wrapped is not None and not any(map(any, padding)) and _fills(wrapped, stride, output):
        view, padding = wrapped.view, wrapped.pads
        geometry = Geometry(tuple(view.shape[2:]), stride, dilation, circular=True)
    op = Convolution(kernel, geometry, padding, view.lead, output, operation=call.operation)
    return call.trace.linear(view, op, call.zero, _channels(call), _other_kernel(call, op, gap))


def _fills(wrapped: Wrapped, stride: tuple[int, ...], output: tuple[int, ...]) -> bool:
    """Whether the windows on a circular padding are windows on the torus, each at most once."""
    size = wrapped.view.shape[2:]
    return (
        not wrapped.zeros
        and len(wrapped.pads) == len(stride)
        and all(n % s == 0 for n, s in zip(size, stride, strict=True))
        and all(out * s <= n for out, s, n in zip(output, stride, size, strict=True))
    )


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


def _padding(value: Any, weight: Tensor, dilation: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """(before, after) of each axis; `same` puts the odd zero after, as torch does."""
    axes = len(dilation)
    if value == "valid":
        return ((0, 0),) * axes
    if value == "same":
        totals = [d * (taps - 1) for d, taps in zip(dilation, weight.shape[2:], strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((side, side) for side in per_axis(value, axes))


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
    stride, dilation, padding = per_axis(stride, axes), per_axis(dilation, axes), per_axis(padding, axes)
    size = tuple(call.zero.shape[2:])
    # of the forward convolution: reads the result, gives the input; weight is (in, out / groups, *taps) there too
    kernel, gap = (item.reshape(groups, -1, *weight.shape[1:]) for item in (weight, call.gap(call.args[1])))
    pads = tuple((side, side) for side in padding)
    geometry = Geometry(size, stride, dilation, padding=pads)
    op = TransposedConvolution(kernel, geometry, pads, view.lead)
    if op.input_size != tuple(view.shape[2:]):
        raise call.refusal(f"its output padding {output_padding} does not fit its stride")
    return call.trace.linear(view, op, call.zero, _channels(call), _other_kernel(call, op, gap))

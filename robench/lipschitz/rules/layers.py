"""Rules for layers: common ones of torch, which need no recording then, robench's own, and other libraries'."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robench.layers import InputNormalization, L2NormPool2d, ScaledAvgPool2d
from robench.lipschitz.norms.rounding import Slack
from robench.lipschitz.trace.nonlinear import Function
from robench.lipschitz.trace.signals import View
from robench.lipschitz.trace.trace import Trace
from robench.lipschitz.trace.values import Value

aten = torch.ops.aten


def identity(trace: Trace, module: nn.Module, view: View) -> Value:
    """Nothing that changes an entry, in evaluation mode."""
    return view


def linear(trace: Trace, module: nn.Module, view: View) -> Value:
    """Dense."""
    return trace.call(aten.linear.default, view, module.weight, module.bias)


CONVOLUTIONS: dict[str, Any] = {"Conv1d": aten.conv1d, "Conv2d": aten.conv2d, "Conv3d": aten.conv3d}


def convolution(trace: Trace, module: nn.Conv1d | nn.Conv2d | nn.Conv3d, view: View) -> Value:
    """Convolution with any padding mode."""
    padding: Any = module.padding
    if module.padding_mode != "zeros":
        pads = list(module._reversed_padding_repeated_twice)
        view = trace.call(aten.pad.default, view, pads, module.padding_mode)
        padding = [0] * len(module.kernel_size)
    packet = CONVOLUTIONS[type(module).__name__]
    target = packet.padding if isinstance(padding, str) else packet.default
    padding = padding if isinstance(padding, str) else list(padding)
    options = (list(module.stride), padding, list(module.dilation), module.groups)
    return trace.call(target, view, module.weight, module.bias, *options)


def batch_norm(trace: Trace, module: nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d, view: View) -> Value:
    """Fixed statistics; refused by the rule if there are none."""
    statistics = (module.running_mean, module.running_var)
    batch = module.running_mean is None
    values = (module.weight, module.bias, *statistics, batch, 0.0, module.eps, False)
    return trace.call(aten.batch_norm.default, view, *values)


def flatten(trace: Trace, module: nn.Flatten, view: View) -> Value:
    """Flatten."""
    return trace.call(aten.flatten.using_ints, view, module.start_dim, module.end_dim)


def relu(trace: Trace, module: nn.Module, view: View) -> Value:
    """ReLU."""
    return trace.call(aten.relu.default, view)


def leaky_relu(trace: Trace, module: nn.LeakyReLU, view: View) -> Value:
    """Leaky ReLU."""
    return trace.call(aten.leaky_relu.default, view, module.negative_slope)


def tanh(trace: Trace, module: nn.Module, view: View) -> Value:
    """Tanh."""
    return trace.call(aten.tanh.default, view)


def sigmoid(trace: Trace, module: nn.Module, view: View) -> Value:
    """Sigmoid."""
    return trace.call(aten.sigmoid.default, view)


def softsign(trace: Trace, module: nn.Module, view: View) -> Value:
    """Softsign, x / (1 + |x|): slope at most 1; its parts alone would be refused."""
    return trace.pointwise(Function("softsign", 1.0, terms=8, lowest=0.0), view, module(view.zero))


def max_pool(trace: Trace, module: nn.MaxPool2d, view: View) -> Value:
    """Max pooling."""
    options = [_pair(value) for value in (module.kernel_size, module.stride, module.padding, module.dilation)]
    result = trace.call(aten.max_pool2d_with_indices.default, view, *options, module.ceil_mode)
    return result if module.return_indices else result[0]


def average_pool(trace: Trace, module: nn.AvgPool2d, view: View) -> Value:
    """Average pooling."""
    options = [_pair(value) for value in (module.kernel_size, module.stride, module.padding)]
    rest = (module.ceil_mode, module.count_include_pad, module.divisor_override)
    return trace.call(aten.avg_pool2d.default, view, *options, *rest)


def lp_pool(trace: Trace, module: nn.LPPool2d, view: View) -> Value:
    """L2-norm pooling; other orders are refused by the rule of `pow`."""
    kernel = _pair(module.kernel_size)
    squares = trace.call(aten.pow.Tensor_Scalar, view, module.norm_type)
    stride = kernel if module.stride is None else _pair(module.stride)
    means = trace.call(aten.avg_pool2d.default, squares, kernel, stride, [0, 0], module.ceil_mode)
    sums = trace.call(aten.mul.Tensor, means, kernel[0] * kernel[1])
    return trace.call(aten.pow.Tensor_Scalar, sums, 1.0 / module.norm_type)


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def group_sort(trace: Trace, module: nn.Module, view: View) -> Value:
    """A sort of each pair of channels: 1-Lipschitz, since sorting is (rearrangement inequality)."""
    return trace.nonlinear(Function("groupsort2", 1.0, groups=lambda: _channel_pairs(view)), [view], module(view.zero))


def _channel_pairs(view: View) -> Tensor:
    """Positions of channels 2k and 2k + 1 in one sample."""
    positions = torch.arange(view.size).reshape(view.shape[1] // 2, 2, -1)
    return positions.movedim(1, 2).reshape(-1, 2)


def full_sort(trace: Trace, module: nn.Module, view: View) -> Value:
    """A sort of all channels."""
    return trace.call(aten.sort.default, view, 1)[0]


def householder(trace: Trace, module: nn.Module, view: View) -> Value:
    """A reflection on one side of a hyperplane, the identity on the other: continuous, both isometries."""
    return trace.nonlinear(Function("householder", 1.0, terms=64), [view], module(view.zero))


def scaled_householder(trace: Trace, module: nn.Module, view: View) -> Value:
    """A reflection or the identity, divided by √2 in orthogonium."""
    return trace.nonlinear(Function("householder", 0.7071067811865477, terms=64), [view], module(view.zero))


def l2_pool(trace: Trace, module: L2NormPool2d, view: View) -> Value:
    """The L2 norm of windows that do not overlap."""
    terms, slack = module.kernel_size**2 + 8, Slack(under_root=2.0 * module.kernel_size**2 + 2)
    return trace.nonlinear(Function("l2 pool", 1.0, terms=terms, slack=slack), [view], module(view.zero))


def scaled_average_pool(trace: Trace, module: ScaledAvgPool2d, view: View) -> Value:
    """Average pooling times the side of its window."""
    kernel = _pair(module.kernel_size)
    means = trace.call(aten.avg_pool2d.default, view, kernel, kernel)
    return trace.call(aten.mul.Tensor, means, float(module.kernel_size))


def input_normalization(trace: Trace, module: InputNormalization, view: View) -> Value:
    """(x − mean) / std: 1 / min(std)."""
    shape = (1, -1, *(1 for _ in view.shape[2:]))
    centered = trace.call(aten.sub.Tensor, view, module.mean.reshape(shape))
    return trace.call(aten.div.Tensor, centered, module.std.reshape(shape))

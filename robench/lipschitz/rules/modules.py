"""Walks modules: containers and well-known layers directly, everything else through its exported graph."""

from __future__ import annotations

import copy
import warnings
from typing import Any, cast

import torch
from torch import Tensor, nn

from robench.errors import BoundError
from robench.layers import FullSort, GroupSort2, HouseHolder, InputNormalization, L2NormPool2d, ScaledAvgPool2d
from robench.lipschitz.norms.rounding import Slack
from robench.lipschitz.trace.signals import View
from robench.lipschitz.trace.walk import Squares, Trace, Value, changed, module_rule, rule_of
from robench.models.networks.plain import plain_module
from robench.models.reading.spared import Copy

aten = torch.ops.aten


def plain_copy(module: nn.Module) -> nn.Module:
    """A copy with the weights that the module uses now, in evaluation mode on the CPU, frozen, no parametrizations.

    A parametrized weight is computed once, in the module's own precision; the certificate is about that value.

    Raises:
        BoundError: the module is in training mode.
        ModelError: it cannot be copied, or computes weights in a way that is not known.
    """
    if isinstance(module, torch.fx.GraphModule):  # an exported program: its operations say themselves how they run
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own, on copies of its trees
            return copy.deepcopy(module).requires_grad_(False).cpu()
    training = [name or "the model" for name, child in module.named_modules() if getattr(child, "training", False)]
    if training:
        raise BoundError(
            f"`{training[0]}` is in training mode, so the model may be random or depend on its batch",
            hint="call `model.eval()` first",
        )
    return plain_module(module).cpu()


def in_float32(module: nn.Module) -> nn.Module:
    """A plain module as it is deployed in float32: itself, unless it holds numbers of another precision."""
    tensors = [*module.parameters(), *module.buffers()]
    if all(tensor.dtype == torch.float32 for tensor in tensors if tensor.is_floating_point()):
        return module
    return plain_copy(module).float()


def walk(trace: Trace, module: nn.Module, view: View) -> View:
    """The view that a module makes of a view.

    Raises:
        BoundError: an operation has no rule.
    """
    registered = rule_of(module)
    if registered is not None:
        trace.steps.append(module)
        return _single(trace, registered(trace, module, view))
    plain = (type(module).forward, type(module).__iter__) if isinstance(module, nn.Sequential) else None
    if plain == (nn.Sequential.forward, nn.Sequential.__iter__) and not changed(module):
        for name, child in module._modules.items():  # `named_children` names a module that is used twice only once
            trace.path.append(name)
            view = walk(trace, cast(nn.Module, child), view)
            trace.path.pop()
        return view
    from robench.lipschitz.trace.graph import walk_recorded  # defines an operation of torch: most models do without

    return _single(trace, walk_recorded(trace, module, view))


def _single(trace: Trace, value: Value) -> View:
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if not isinstance(value, View):
        what = "several tensors" if isinstance(value, list | tuple) else "something without a Lipschitz bound"
        if isinstance(value, Squares):
            what = "the square of a signal, which grows without bound"
        if isinstance(value, Tensor):
            what = "a tensor that does not depend on the input"
        raise BoundError(f"`{trace.where}` returns {what}", hint="return one tensor of logits")
    return value


@module_rule(Copy, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
def identity(trace: Trace, module: nn.Module, view: View) -> Value:
    """Nothing that changes an entry, in evaluation mode."""
    return view


@module_rule(nn.Linear)
def linear(trace: Trace, module: nn.Module, view: View) -> Value:
    """Dense."""
    return trace.call(aten.linear.default, view, module.weight, module.bias)


CONVOLUTIONS: dict[str, Any] = {"Conv1d": aten.conv1d, "Conv2d": aten.conv2d, "Conv3d": aten.conv3d}


@module_rule(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def convolution(trace: Trace, module: nn.Module, view: View) -> Value:
    """Convolution with any padding mode."""
    assert isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
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


@module_rule(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
def batch_norm(trace: Trace, module: nn.Module, view: View) -> Value:
    """Fixed statistics; refused by the rule if there are none."""
    assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
    statistics = (module.running_mean, module.running_var)
    batch = module.running_mean is None
    values = (module.weight, module.bias, *statistics, batch, 0.0, module.eps, False)
    return trace.call(aten.batch_norm.default, view, *values)


@module_rule(nn.Flatten)
def flatten(trace: Trace, module: nn.Module, view: View) -> Value:
    """Flatten."""
    assert isinstance(module, nn.Flatten)
    return trace.call(aten.flatten.using_ints, view, module.start_dim, module.end_dim)


@module_rule(nn.ReLU)
def relu(trace: Trace, module: nn.Module, view: View) -> Value:
    """ReLU."""
    return trace.call(aten.relu.default, view)


@module_rule(nn.LeakyReLU)
def leaky_relu(trace: Trace, module: nn.Module, view: View) -> Value:
    """Leaky ReLU."""
    assert isinstance(module, nn.LeakyReLU)
    return trace.call(aten.leaky_relu.default, view, module.negative_slope)


@module_rule(nn.Tanh)
def tanh(trace: Trace, module: nn.Module, view: View) -> Value:
    """Tanh."""
    return trace.call(aten.tanh.default, view)


@module_rule(nn.Sigmoid)
def sigmoid(trace: Trace, module: nn.Module, view: View) -> Value:
    """Sigmoid."""
    return trace.call(aten.sigmoid.default, view)


@module_rule(nn.Softsign)
def softsign(trace: Trace, module: nn.Module, view: View) -> Value:
    """Softsign, x / (1 + |x|): slope at most 1; its parts alone would be refused."""
    return trace.pointwise("softsign", view, 1.0, module(view.zero), terms=8)


@module_rule(nn.MaxPool2d)
def max_pool(trace: Trace, module: nn.Module, view: View) -> Value:
    """Max pooling."""
    assert isinstance(module, nn.MaxPool2d)
    options = [_pair(value) for value in (module.kernel_size, module.stride, module.padding, module.dilation)]
    result = trace.call(aten.max_pool2d_with_indices.default, view, *options, module.ceil_mode)
    return result if module.return_indices else result[0]


@module_rule(nn.AvgPool2d)
def average_pool(trace: Trace, module: nn.Module, view: View) -> Value:
    """Average pooling."""
    assert isinstance(module, nn.AvgPool2d)
    options = [_pair(value) for value in (module.kernel_size, module.stride, module.padding)]
    rest = (module.ceil_mode, module.count_include_pad, module.divisor_override)
    return trace.call(aten.avg_pool2d.default, view, *options, *rest)


@module_rule(nn.LPPool2d)
def lp_pool(trace: Trace, module: nn.Module, view: View) -> Value:
    """L2-norm pooling; other orders are refused by the rule of `pow`."""
    assert isinstance(module, nn.LPPool2d)
    kernel = _pair(module.kernel_size)
    squares = trace.call(aten.pow.Tensor_Scalar, view, module.norm_type)
    stride = kernel if module.stride is None else _pair(module.stride)
    means = trace.call(aten.avg_pool2d.default, squares, kernel, stride, [0, 0], module.ceil_mode)
    sums = trace.call(aten.mul.Tensor, means, kernel[0] * kernel[1])
    return trace.call(aten.pow.Tensor_Scalar, sums, 1.0 / module.norm_type)


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


@module_rule(GroupSort2)
def group_sort(trace: Trace, module: nn.Module, view: View) -> Value:
    """A sort of each pair of channels: 1-Lipschitz, since sorting is (rearrangement inequality)."""
    return trace.nonlinear("groupsort2", [view], 1.0, module(view.zero))


@module_rule(FullSort)
def full_sort(trace: Trace, module: nn.Module, view: View) -> Value:
    """A sort of all channels."""
    return trace.call(aten.sort.default, view, 1)[0]


@module_rule(HouseHolder, "deel.torchlip.modules.activation.HouseHolder")
def householder(trace: Trace, module: nn.Module, view: View) -> Value:
    """A reflection on one side of a hyperplane, the identity on the other: continuous, both isometries."""
    return trace.nonlinear("householder", [view], 1.0, module(view.zero), terms=64)


@module_rule("orthogonium.layers.custom_activations.HouseHolder")
def scaled_householder(trace: Trace, module: nn.Module, view: View) -> Value:
    """A reflection or the identity, divided by √2 in orthogonium."""
    return trace.nonlinear("householder", [view], 0.7071067811865477, module(view.zero), terms=64)


@module_rule(L2NormPool2d)
def l2_pool(trace: Trace, module: nn.Module, view: View) -> Value:
    """The L2 norm of windows that do not overlap."""
    assert isinstance(module, L2NormPool2d)
    terms, slack = module.kernel_size**2 + 8, Slack(under_root=2.0 * module.kernel_size**2 + 2)
    return trace.nonlinear("l2 pool", [view], 1.0, module(view.zero), terms=terms, slack=slack)


@module_rule(ScaledAvgPool2d)
def scaled_average_pool(trace: Trace, module: nn.Module, view: View) -> Value:
    """Average pooling times the side of its window."""
    assert isinstance(module, ScaledAvgPool2d)
    kernel = _pair(module.kernel_size)
    means = trace.call(aten.avg_pool2d.default, view, kernel, kernel)
    return trace.call(aten.mul.Tensor, means, float(module.kernel_size))


@module_rule(InputNormalization)
def input_normalization(trace: Trace, module: nn.Module, view: View) -> Value:
    """(x − mean) / std: 1 / min(std)."""
    assert isinstance(module, InputNormalization)
    shape = (1, -1, *(1 for _ in view.shape[2:]))
    centred = trace.call(aten.sub.Tensor, view, module.mean.reshape(shape))
    return trace.call(aten.div.Tensor, centred, module.std.reshape(shape))

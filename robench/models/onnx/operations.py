"""ONNX operations as torch's: those that a feed-forward classifier has, in evaluation mode.

Source of each: https://onnx.ai/onnx/operators. Files of all opsets since 7 are meant; what changed since is read from
where it stands (an attribute before, an input after).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robench.errors import ModelError

Value = Any
"""A tensor that depends on the input or holds weights, or a numpy array of a shape, an axis, or another number."""


HINT = "give the torch model that it was exported from: FILE.py:factory with its weights"


class Unsupported(ModelError):
    """An operation, or a form of one, that is not read."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the ONNX file has {what}, which robench does not read", hint=HINT)


class Node(NamedTuple):
    """One operation of a graph.

    Fields:
        kind: such as `Conv`.
        inputs: names; empty where one is left out.
        outputs: names.
        attributes: by name.
        opset: version of the operations.
        batch: size of the batch that the file was exported for, if it takes no other.
    """

    kind: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Any]
    opset: int
    batch: int | None

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)


Operation = Callable[..., Any]
OPERATIONS: dict[str, Operation] = {
    "Abs": lambda node, x: x.abs(),
    "Add": lambda node, a, b: a + b,
    "Div": lambda node, a, b: a / b,
    "Dropout": lambda node, x, *_: x,
    "Elu": lambda node, x: F.elu(x, node.get("alpha", 1.0)),
    "Erf": lambda node, x: torch.erf(x),
    "Exp": lambda node, x: x.exp(),
    "Flatten": lambda node, x: _flat(node, x),
    "GlobalAveragePool": lambda node, x: x.mean(dim=tuple(range(2, x.dim())), keepdim=True),
    "GlobalMaxPool": lambda node, x: x.amax(dim=tuple(range(2, x.dim())), keepdim=True),
    "Identity": lambda node, x: x,
    "LeakyRelu": lambda node, x: F.leaky_relu(x, node.get("alpha", 0.01)),
    "Log": lambda node, x: x.log(),
    "MatMul": lambda node, a, b: a @ b,
    "Mul": lambda node, a, b: a * b,
    "Neg": lambda node, x: -x,
    "PRelu": lambda node, x, slope: torch.where(x < 0, x * slope, x),
    "Pow": lambda node, x, y: x**y,
    "Relu": lambda node, x: F.relu(x),
    "Selu": lambda node, x: F.selu(x),
    "Sigmoid": lambda node, x: x.sigmoid(),
    "Softplus": lambda node, x: F.softplus(x),
    "Sqrt": lambda node, x: x.sqrt(),
    "Sub": lambda node, a, b: a - b,
    "Sum": lambda node, *parts: sum(parts[1:], parts[0]),
    "Tanh": lambda node, x: x.tanh(),
}


def operation(*kinds: str) -> Callable[[Operation], Operation]:
    """Register what computes operations of these kinds."""

    def add(function: Operation) -> Operation:
        for kind in kinds:
            OPERATIONS[kind] = function
        return function

    return add


def _ints(value: Value) -> list[int]:
    if isinstance(value, Tensor):
        raise Unsupported("a shape or an axis that depends on the input")
    return [int(item) for item in np.asarray(value).reshape(-1)]


def _number(value: Value) -> float | None:
    if value is None:
        return None
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise Unsupported("bounds that are not numbers")
        return float(value)
    return float(np.asarray(value).reshape(()))


def _flat(node: Node, x: Tensor) -> Tensor:
    if node.get("axis", 1) != 1:
        raise Unsupported("`Flatten` of another axis than 1")
    return x.flatten(1)


def _pads(node: Node, dims: int, sizes: Sequence[int], kernel: Sequence[int]) -> list[int]:
    """Padding before and after each axis, for `F.pad`: last axis first.

    Args:
        node: a convolution or a pool.
        dims: number of axes of an image.
        sizes: of the image.
        kernel: with its dilation, so that it is what a window covers.
    """
    auto = node.get("auto_pad", b"NOTSET").decode()
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = []
        for size, window, stride in zip(sizes, kernel, node.get("strides", [1] * dims), strict=True):
            total = max((-(-size // stride) - 1) * stride + window - size, 0)
            small, large = total // 2, total - total // 2
            pads.append((small, large) if auto == "SAME_UPPER" else (large, small))
    elif auto in ("NOTSET", "VALID"):
        given = list(node.get("pads", [0] * 2 * dims)) if auto == "NOTSET" else [0] * 2 * dims
        pads = list(zip(given[:dims], given[dims:], strict=True))
    else:
        raise Unsupported(f"padding `{auto}`")
    return [side for pair in reversed(pads) for side in pair]


def _spread(kernel: Sequence[int], dilation: Sequence[int]) -> list[int]:
    return [1 + d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]


@operation("Gemm")
def _gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a, b = (a.T if node.get("transA", 0) else a), (b.T if node.get("transB", 0) else b)
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    product = a @ b if alpha == 1.0 else alpha * (a @ b)
    return product if c is None else product + (c if beta == 1.0 else beta * c)


@operation("Conv")
def _conv(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    dims = weight.dim() - 2
    if dims not in (1, 2, 3):
        raise Unsupported(f"a convolution over {dims} axes")
    dilation = node.get("dilations", [1] * dims)
    pads = _pads(node, dims, x.shape[2:], _spread(weight.shape[2:], dilation))
    convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[dims]
    even = [pads[2 * i] for i in range(dims)][::-1] if pads[::2] == pads[1::2] else None
    padded = x if even is not None else F.pad(x, pads)
    result: Tensor = convolve(
        padded,
        weight,
        bias,
        stride=tuple(node.get("strides", [1] * dims)),
        padding=tuple(even or [0] * dims),
        dilation=tuple(dilation),
        groups=node.get("group", 1),
    )
    return result


@operation("BatchNormalization")
def _batch_norm(node: Node, x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    if node.get("training_mode", 0) or len(node.outputs) > 1:
        raise Unsupported("`BatchNormalization` in training mode")
    return F.batch_norm(x, mean, variance, scale, shift, training=False, eps=node.get("epsilon", 1e-5))


@operation("MaxPool", "AveragePool")
def _pool(node: Node, x: Tensor) -> Tensor:
    kernel = list(node.get("kernel_shape"))
    if len(kernel) != 2 or len(node.outputs) > 1 or node.get("ceil_mode", 0) or node.get("storage_order", 0):
        raise Unsupported(f"`{node.kind}` of this form")
    dilation, strides = node.get("dilations", [1, 1]), tuple(node.get("strides", [1, 1]))
    pads = _pads(node, 2, x.shape[2:], _spread(kernel, dilation))
    if node.kind == "MaxPool":
        if pads[::2] == pads[1::2] and all(2 * pad <= size for pad, size in zip(pads[::2][::-1], kernel, strict=True)):
            return F.max_pool2d(x, kernel, strides, tuple(pads[::2][::-1]), dilation=tuple(dilation))
        return F.max_pool2d(F.pad(x, pads, value=float("-inf")), kernel, strides, dilation=tuple(dilation))
    if list(dilation) != [1, 1] or (any(pads) and not node.get("count_include_pad", 0)):
        raise Unsupported("`AveragePool` with dilation, or that leaves the padding out")
    return F.avg_pool2d(F.pad(x, pads) if any(pads) else x, kernel, strides)


@operation("Reshape")
def _reshape(node: Node, x: Tensor, shape: Value) -> Tensor:
    """A first size that is the fixed batch size stands for the batch; the comparison with onnxruntime tells if not."""
    sizes = _ints(shape)
    if node.batch is not None and sizes[:1] == [node.batch]:
        sizes[0] = x.shape[0]
    if not node.get("allowzero", 0):
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


@operation("Transpose")
def _transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(*node.get("perm", range(x.dim())[::-1]))


@operation("Concat")
def _concat(node: Node, *parts: Tensor) -> Tensor:
    return torch.cat([torch.as_tensor(part) for part in parts], dim=node.get("axis"))


@operation("Clip")
def _clip(node: Node, x: Tensor, low: Value = None, high: Value = None) -> Tensor:
    low = node.get("min") if low is None else _number(low)
    high = node.get("max") if high is None else _number(high)
    return x if low is None and high is None else x.clamp(low, high)


@operation("Max", "Min")
def _extreme(node: Node, *parts: Tensor) -> Tensor:
    choose = torch.maximum if node.kind == "Max" else torch.minimum
    result = torch.as_tensor(parts[0])
    for part in parts[1:]:
        result = choose(result, torch.as_tensor(part))
    return result


def _axes(node: Node, given: Value) -> list[int] | None:
    axes = node.get("axes") if given is None else _ints(given)
    return None if axes is None else list(axes)


@operation("Squeeze")
def _squeeze(node: Node, x: Tensor, axes: Value = None) -> Tensor:
    chosen = _axes(node, axes)
    if chosen is None:
        raise Unsupported("`Squeeze` without axes")
    return x.squeeze(tuple(chosen))


@operation("Unsqueeze")
def _unsqueeze(node: Node, x: Tensor, axes: Value = None) -> Tensor:
    chosen = _axes(node, axes) or []
    for axis in sorted(axis % (x.dim() + len(chosen)) for axis in chosen):
        x = x.unsqueeze(axis)
    return x


@operation("ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2")
def _reduce(node: Node, x: Tensor, axes: Value = None) -> Tensor:
    chosen, keep = _axes(node, axes), bool(node.get("keepdims", 1))
    if not chosen:
        raise Unsupported(f"`{node.kind}` over all axes")
    if node.kind == "ReduceL2":
        length: Tensor = torch.linalg.vector_norm(x, dim=chosen, keepdim=keep)
        return length
    reduce: Any = {"ReduceMean": torch.mean, "ReduceSum": torch.sum, "ReduceMax": torch.amax}[node.kind]
    result: Tensor = reduce(x, dim=chosen, keepdim=keep)
    return result


@operation("Softmax", "LogSoftmax")
def _softmax(node: Node, x: Tensor) -> Tensor:
    last = x.dim() - 1
    axis = node.get("axis", 1 if node.opset < 13 else -1) % x.dim()
    if node.opset < 13 and axis != last:
        raise Unsupported(f"`{node.kind}` of before opset 13 over several axes")
    return x.softmax(axis) if node.kind == "Softmax" else x.log_softmax(axis)


@operation("Slice")
def _slice(node: Node, x: Tensor, *bounds: Value) -> Tensor:
    starts, ends = (node.get("starts"), node.get("ends")) if not bounds else (_ints(bounds[0]), _ints(bounds[1]))
    given = bounds[2] if len(bounds) > 2 else node.get("axes")
    axes = list(range(len(starts))) if given is None else _ints(given)
    steps = _ints(bounds[3]) if len(bounds) > 3 and bounds[3] is not None else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise Unsupported("`Slice` backwards")
        places = range(x.shape[axis])[start:end:step]
        picked = x.narrow(axis, places.start, max(places.stop - places.start, 0))
        x = picked if step == 1 else picked[(slice(None),) * (axis % x.dim()) + (slice(None, None, step),)]
    return x


@operation("Pad")
def _pad(node: Node, x: Tensor, pads: Value = None, value: Value = None, axes: Value = None) -> Tensor:
    sides = node.get("pads") if pads is None else _ints(pads)
    if node.get("mode", b"constant") != b"constant" or axes is not None:
        raise Unsupported("`Pad` of this form")
    half = len(sides) // 2
    pairs = zip(sides[:half], sides[half:], strict=True)
    return F.pad(x, [side for pair in reversed(list(pairs)) for side in pair], value=_number(value) or 0.0)

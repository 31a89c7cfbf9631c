"""Operations of ONNX that are layers: products, convolutions, normalisation, pools, reductions over axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from robench.models.onnx.node import Node, Operation, Unsupported, Value, axes_of, number


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


def _gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a, b = (a.T if node.get("transA", 0) else a), (b.T if node.get("transB", 0) else b)
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    product = a @ b if alpha == 1.0 else alpha * (a @ b)
    return product if c is None else product + (c if beta == 1.0 else beta * c)


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


def _batch_norm(node: Node, x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    if node.get("training_mode", 0) or len(node.outputs) > 1:
        raise Unsupported("`BatchNormalization` in training mode")
    return F.batch_norm(x, mean, variance, scale, shift, training=False, eps=node.get("epsilon", 1e-5))


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


def _clip(node: Node, x: Tensor, low: Value = None, high: Value = None) -> Tensor:
    low = node.get("min") if low is None else number(low)
    high = node.get("max") if high is None else number(high)
    return x if low is None and high is None else x.clamp(low, high)


def _extreme(node: Node, *parts: Tensor) -> Tensor:
    choose = torch.maximum if node.kind == "Max" else torch.minimum
    result = torch.as_tensor(parts[0])
    for part in parts[1:]:
        result = choose(result, torch.as_tensor(part))
    return result


def _reduce(node: Node, x: Tensor, axes: Value = None) -> Tensor:
    chosen, keep = axes_of(node, axes), bool(node.get("keepdims", 1))
    if not chosen:
        raise Unsupported(f"`{node.kind}` over all axes")
    if node.kind == "ReduceL2":
        length: Tensor = torch.linalg.vector_norm(x, dim=chosen, keepdim=keep)
        return length
    reduce: Any = {"ReduceMean": torch.mean, "ReduceSum": torch.sum, "ReduceMax": torch.amax}[node.kind]
    result: Tensor = reduce(x, dim=chosen, keepdim=keep)
    return result


def _softmax(node: Node, x: Tensor) -> Tensor:
    last = x.dim() - 1
    axis = node.get("axis", 1 if node.opset < 13 else -1) % x.dim()
    if node.opset < 13 and axis != last:
        raise Unsupported(f"`{node.kind}` of before opset 13 over several axes")
    return x.softmax(axis) if node.kind == "Softmax" else x.log_softmax(axis)


LAYERS: dict[str, Operation] = {
    "Gemm": _gemm,
    "Conv": _conv,
    "BatchNormalization": _batch_norm,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "Clip": _clip,
    "Max": _extreme,
    "Min": _extreme,
    "ReduceMean": _reduce,
    "ReduceSum": _reduce,
    "ReduceMax": _reduce,
    "ReduceL2": _reduce,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
}
"""By kind."""

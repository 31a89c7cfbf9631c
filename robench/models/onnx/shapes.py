"""Operations of ONNX that move, pick or pad entries."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from robench.models.onnx.node import Node, Operation, Unsupported, Value, axes_of, ints, number


def _flat(node: Node, x: Tensor) -> Tensor:
    if node.get("axis", 1) != 1:
        raise Unsupported("`Flatten` of another axis than 1")
    return x.flatten(1)


def _reshape(node: Node, x: Tensor, shape: Value) -> Tensor:
    """A first size that is the fixed batch size stands for the batch; the comparison with onnxruntime tells if not."""
    sizes = ints(shape)
    if node.batch is not None and sizes[:1] == [node.batch]:
        sizes[0] = x.shape[0]
    if not node.get("allowzero", 0):
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


def _transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(*node.get("perm", range(x.dim())[::-1]))


def _concat(node: Node, *parts: Tensor) -> Tensor:
    return torch.cat([torch.as_tensor(part) for part in parts], dim=node.get("axis"))


def _squeeze(node: Node, x: Tensor, axes: Value = None) -> Tensor:
    chosen = axes_of(node, axes)
    if chosen is None:
        raise Unsupported("`Squeeze` without axes")
    return x.squeeze(tuple(chosen))


def _unsqueeze(node: Node, x: Tensor, axes: Value = None) -> Tensor:
    chosen = axes_of(node, axes) or []
    for axis in sorted(axis % (x.dim() + len(chosen)) for axis in chosen):
        x = x.unsqueeze(axis)
    return x


def _slice(node: Node, x: Tensor, *bounds: Value) -> Tensor:
    starts, ends = (node.get("starts"), node.get("ends")) if not bounds else (ints(bounds[0]), ints(bounds[1]))
    given = bounds[2] if len(bounds) > 2 else node.get("axes")
    axes = list(range(len(starts))) if given is None else ints(given)
    steps = ints(bounds[3]) if len(bounds) > 3 and bounds[3] is not None else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise Unsupported("`Slice` backwards")
        places = range(x.shape[axis])[start:end:step]
        picked = x.narrow(axis, places.start, max(places.stop - places.start, 0))
        x = picked if step == 1 else picked[(slice(None),) * (axis % x.dim()) + (slice(None, None, step),)]
    return x


def _pad(node: Node, x: Tensor, pads: Value = None, value: Value = None, axes: Value = None) -> Tensor:
    sides = node.get("pads") if pads is None else ints(pads)
    if node.get("mode", b"constant") != b"constant" or axes is not None:
        raise Unsupported("`Pad` of this form")
    half = len(sides) // 2
    pairs = zip(sides[:half], sides[half:], strict=True)
    return F.pad(x, [side for pair in reversed(list(pairs)) for side in pair], value=number(value) or 0.0)


SHAPES: dict[str, Operation] = {
    "Flatten": _flat,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Concat": _concat,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Slice": _slice,
    "Pad": _pad,
}
"""By kind."""

"""ONNX operations as torch's: those that a feed-forward classifier has, in evaluation mode.

Source of each: https://onnx.ai/onnx/operators. Files of all opsets since 7 are meant; what changed since is read from
where it stands (an attribute before, an input after).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from robench.models.onnx.layers import LAYERS
from robench.models.onnx.node import Node, Operation, Value, ints
from robench.models.onnx.shapes import SHAPES


def _split(node: Node, x: Tensor, sizes: Value = None) -> tuple[Tensor, ...]:
    axis, count = node.get("axis", 0), len(node.outputs)
    given = node.get("split") if sizes is None else ints(sizes)
    return torch.split(x, -(-x.shape[axis] // count) if given is None else list(given), axis)


def _top_k(node: Node, x: Tensor, k: Value) -> Tensor:
    largest, ordered = bool(node.get("largest", 1)), bool(node.get("sorted", 1))
    return torch.topk(x, ints(k)[0], node.get("axis", -1), largest, ordered).values


OPERATIONS: dict[str, Operation] = {
    "Abs": lambda node, x: x.abs(),
    "Add": lambda node, a, b: a + b,
    "Atan": lambda node, x: x.atan(),
    "Cos": lambda node, x: x.cos(),
    "Div": lambda node, a, b: a / b,
    "Dropout": lambda node, x, *_: x,
    "Elu": lambda node, x: F.elu(x, node.get("alpha", 1.0)),
    "Erf": lambda node, x: torch.erf(x),
    "Exp": lambda node, x: x.exp(),
    "Einsum": lambda node, *parts: torch.einsum(node.get("equation").decode(), *parts),
    "Gelu": lambda node, x: F.gelu(x, approximate=node.get("approximate", b"none").decode()),
    "GlobalAveragePool": lambda node, x: x.mean(dim=tuple(range(2, x.dim())), keepdim=True),
    "GlobalMaxPool": lambda node, x: x.amax(dim=tuple(range(2, x.dim())), keepdim=True),
    "Greater": lambda node, a, b: a > b,
    "GreaterOrEqual": lambda node, a, b: a >= b,
    "HardSigmoid": lambda node, x: (node.get("alpha", 0.2) * x + node.get("beta", 0.5)).clamp(0.0, 1.0),
    "HardSwish": lambda node, x: x * (x / 6 + 0.5).clamp(0.0, 1.0),
    "Identity": lambda node, x: x,
    "LeakyRelu": lambda node, x: F.leaky_relu(x, node.get("alpha", 0.01)),
    "Less": lambda node, a, b: a < b,
    "LessOrEqual": lambda node, a, b: a <= b,
    "Log": lambda node, x: x.log(),
    "MatMul": lambda node, a, b: a @ b,
    "Mish": lambda node, x: F.mish(x),
    "Mul": lambda node, a, b: a * b,
    "Neg": lambda node, x: -x,
    "Not": lambda node, x: ~x,
    "PRelu": lambda node, x, slope: torch.where(x < 0, x * slope, x),
    "Pow": lambda node, x, y: x**y,
    "Reciprocal": lambda node, x: x.reciprocal(),
    "Relu": lambda node, x: F.relu(x),
    "Selu": lambda node, x: F.selu(x),
    "Sigmoid": lambda node, x: x.sigmoid(),
    "Sin": lambda node, x: x.sin(),
    "Softplus": lambda node, x: F.softplus(x),
    "Softsign": lambda node, x: F.softsign(x),
    "Split": _split,
    "Sqrt": lambda node, x: x.sqrt(),
    "Sub": lambda node, a, b: a - b,
    "Sum": lambda node, *parts: sum(parts[1:], parts[0]),
    "Tanh": lambda node, x: x.tanh(),
    "TopK": _top_k,
    "Where": lambda node, mask, a, b: torch.where(mask, a, b),
    **LAYERS,
    **SHAPES,
}

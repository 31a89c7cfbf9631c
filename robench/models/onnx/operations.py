"""ONNX operations as torch's: those that a feed-forward classifier has, in evaluation mode.

Source of each: https://onnx.ai/onnx/operators. Files of all opsets since 7 are meant; what changed since is read from
where it stands (an attribute before, an input after).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from robench.models.onnx.layers import LAYERS
from robench.models.onnx.node import Operation
from robench.models.onnx.shapes import SHAPES

OPERATIONS: dict[str, Operation] = {
    "Abs": lambda node, x: x.abs(),
    "Add": lambda node, a, b: a + b,
    "Div": lambda node, a, b: a / b,
    "Dropout": lambda node, x, *_: x,
    "Elu": lambda node, x: F.elu(x, node.get("alpha", 1.0)),
    "Erf": lambda node, x: torch.erf(x),
    "Exp": lambda node, x: x.exp(),
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
    **LAYERS,
    **SHAPES,
}

"""What a graph of ATen operations proves about an operand: constant, positive, equal for all classes, its shape."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx

COPIES = ("alias", "clone", "contiguous", "detach", "dropout", "feature_dropout", "view", "reshape", "_unsafe_view",
          "flatten", "squeeze", "unsqueeze", "to", "_to_copy", "lift_fresh_copy")  # fmt: skip
"""Operations that change no number, if the shape stays and the precision is not lowered."""


def is_uniform(operand: Any) -> bool:
    """Whether an operand is the same for all classes of a sample: by its shape, or as a constant."""
    if isinstance(operand, bool) or operand is None:
        return False
    if not isinstance(operand, fx.Node):
        return isinstance(operand, int | float) and math.isfinite(operand)
    if name_of(operand) in ("expand", "expand_as"):
        return is_uniform(operand.args[0])
    value = constant_of(operand)
    if value is not None:
        return bool(torch.isfinite(value).all()) and bool((value == value.flatten()[0]).all())
    meta = meta_of(operand)
    return isinstance(meta, Tensor) and meta.ndim <= 2 and bool(meta.ndim == 0 or meta.shape[-1] == 1)


def is_positive(operand: Any) -> bool:
    """Whether an operand is proven to be above 0."""
    if not isinstance(operand, fx.Node):
        return bool(operand > 0)
    value = constant_of(operand)
    if value is not None:
        return bool((value > 0).all())
    name = name_of(operand)
    if name in ("exp", "sigmoid", "softmax", "_softmax"):
        return True
    if name in ("sum", "mean", "amax", "amin", "expand", "expand_as", *COPIES):
        return is_positive(operand.args[0])
    if name in ("add", "mul", "div"):
        plain = operand.kwargs.get("alpha", 1) == 1 and operand.kwargs.get("rounding_mode") is None
        return bool(plain) and all(is_positive(side) for side in operand.args[:2])
    return False


def constant_of(operand: Any) -> Tensor | None:
    """The value of a node that depends on stored tensors and numbers alone."""
    if isinstance(operand, int | float) and not isinstance(operand, bool):
        return torch.as_tensor(operand, dtype=torch.float64)
    if not isinstance(operand, fx.Node):
        return None
    if operand.op == "get_attr":
        at: Any = operand.graph.owning_module
        for part in str(operand.target).split("."):
            at = getattr(at, part)
        return at.detach() if isinstance(at, Tensor) and at.numel() else None
    if operand.op != "call_function" or operand.kwargs or torch.Tag.nondeterministic_seeded in _tags(operand):
        return None
    values = [constant_of(item) if isinstance(item, fx.Node) else item for item in operand.args]
    if any(value is None for value in values) or not any(isinstance(item, fx.Node) for item in operand.args):
        return None
    result = operand.target(*values)  # type: ignore[operator]
    return result if isinstance(result, Tensor) and result.numel() else None


def number_of(operand: Any) -> float | None:
    """The one number that an operand is, if it is constant."""
    value = constant_of(operand)
    return float(value) if value is not None and value.numel() == 1 else None


def argument_of(node: fx.Node, position: int, default: Any, name: str = "") -> Any:
    """An argument by its name, or by its position.

    Args:
        node: an operation.
        position: among the positional ones.
        default: where it is not given.
        name: as a keyword.
    """
    if name in node.kwargs:
        return node.kwargs[name]
    return node.args[position] if position < len(node.args) else default


def _tags(node: fx.Node) -> Any:
    return getattr(node.target, "tags", ())


def name_of(node: fx.Node) -> str:
    """Such as `sigmoid`; empty for what is no operation of ATen."""
    packet = str(getattr(node.target, "overloadpacket", ""))
    return packet.removeprefix("aten.") if node.op == "call_function" and packet.startswith("aten.") else ""


def first_operand(node: fx.Node) -> fx.Node | None:
    """The first operand that is a node."""
    return next((item for item in node.args if isinstance(item, fx.Node)), None)


def meta_of(node: fx.Node) -> Any:
    """An example of what the node gives."""
    return node.meta.get("val")


def same_shape(node: fx.Node, inner: fx.Node) -> bool:
    """Whether both are (N, q) of one q."""
    a, b = meta_of(node), meta_of(inner)
    return isinstance(a, Tensor) and isinstance(b, Tensor) and a.ndim == b.ndim == 2 and a.shape[1] == b.shape[1]


def keeps_precision(node: fx.Node, inner: fx.Node) -> bool:
    """Whether both are (N, q), the second in no higher precision."""
    a, b = meta_of(node), meta_of(inner)
    return same_shape(node, inner) and a.dtype.itemsize >= b.dtype.itemsize

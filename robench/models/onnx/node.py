"""One operation of an ONNX graph, its attributes, and the numbers that it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
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


def ints(value: Value) -> list[int]:
    """Sizes or axes, which must not depend on the input."""
    if isinstance(value, Tensor):
        raise Unsupported("a shape or an axis that depends on the input")
    return [int(item) for item in np.asarray(value).reshape(-1)]


def number(value: Value) -> float | None:
    """One number; None where it is left out."""
    if value is None:
        return None
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise Unsupported("bounds that are not numbers")
        return float(value)
    return float(np.asarray(value).reshape(()))


def axes_of(node: Node, given: Value) -> list[int] | None:
    """Axes as an attribute, or as an input of later opsets."""
    axes = node.get("axes") if given is None else ints(given)
    return None if axes is None else list(axes)

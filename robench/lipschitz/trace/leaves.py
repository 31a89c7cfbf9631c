"""Layers that have a rule and are not torch's: in a recorded graph each is one operation, `robench::registered`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from robench.models.networks.widened import Widening

_LIBRARY: Any = torch.library.Library("robench", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define("registered(Tensor x, str path) -> Tensor")
_REGISTERED: dict[str, Callable[[Tensor], Tensor]] = {}
_SHAPES: dict[tuple[str, tuple[int, ...]], tuple[int, ...]] = {}


def _run(x: Tensor, path: str) -> Tensor:
    with Widening() if x.dtype == torch.float64 else contextlib.nullcontext():  # type: ignore[no-untyped-call]
        result = _REGISTERED[path](x)
    _SHAPES[path, tuple(x.shape)] = tuple(result.shape)
    return result


def _shape(x: Tensor, path: str) -> Tensor:
    return x.new_empty(_SHAPES[path, tuple(x.shape)])


_LIBRARY.impl("registered", _run, "CompositeExplicitAutograd")
_LIBRARY.impl("registered", _shape, "Meta")


@contextlib.contextmanager
def running(forwards: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """While it lasts, the operation of a path runs this `forward`."""
    _REGISTERED.update(forwards)
    try:
        yield
    finally:
        _REGISTERED.clear()
        _SHAPES.clear()


@contextlib.contextmanager
def opaque(leaves: Mapping[str, nn.Module]) -> Iterator[None]:
    """While it lasts, each layer runs the operation of its path instead of its own `forward`."""
    try:
        for path, child in leaves.items():
            child.forward = _operation(path)
        yield
    finally:
        for child in leaves.values():
            vars(child).pop("forward", None)


def _operation(path: str) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.ops.robench.registered(x, path)

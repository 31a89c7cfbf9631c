"""What a module keeps beside its parameters and buffers: tensors and plain values in attributes, lists and tables.

torch neither moves, converts, saves nor copies these as it does parameters; a network may depend on them all the same.
"""

from __future__ import annotations

import copy
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping, MutableSequence
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

INTERNAL = frozenset(vars(nn.Module()))
"""Attributes in which torch keeps its own tables of a module."""
PLAIN = (int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
OPAQUE = (nn.Module, type, FunctionType, BuiltinFunctionType, MethodType, ModuleType)


def held_values(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Tensors and plain values that a module and its children keep in attributes, each with its dotted path."""
    seen: set[int] = set()
    for name, child in module.named_modules():
        for attribute, value in vars(child).items():
            if attribute not in INTERNAL and not isinstance(child, torch.fx.GraphModule):
                yield from _leaves(f"{name}.{attribute}".lstrip("."), value, seen)


def _leaves(path: str, value: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (Tensor, *PLAIN)):
        yield path, value
        return
    if isinstance(value, OPAQUE) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        items: Any = value.items()
    elif isinstance(value, list | tuple | set | frozenset | deque):
        items = enumerate(value)
    else:
        items = getattr(value, "__dict__", {}).items()
    for key, item in list(items):
        yield from _leaves(f"{path}.{key}", item, seen)


def map_held(module: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
    """Replace each tensor in an attribute of a module, or in lists and tables there, by what a function makes of it."""
    for child in module.modules():
        for attribute, value in list(vars(child).items()):
            if attribute not in INTERNAL and (replaced := _mapped(value, function)) is not value:
                vars(child)[attribute] = replaced


def _mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if type(value) is tuple and any(isinstance(item, Tensor | list | dict | tuple) for item in value):
        return tuple(_mapped(item, function) for item in value)
    if isinstance(value, MutableMapping) or (isinstance(value, MutableSequence) and not isinstance(value, bytearray)):
        for key, item in list(value.items() if isinstance(value, MutableMapping) else enumerate(value)):
            if isinstance(item, Tensor | list | dict | tuple):
                value[key] = _mapped(item, function)
    return value


def detached_copy(module: nn.Module) -> nn.Module:
    """A deep copy; tensors that were kept from a computation with gradients are copied as what they are now.

    torch copies no tensor that has a history. In a copy that is only evaluated it has no use for one.
    """
    kept = [value for _, value in held_values(module) if isinstance(value, Tensor)]
    memo = {id(value): value.detach().clone() for value in (*kept, *module.buffers()) if value.grad_fn is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, on copies of exported programs
        return copy.deepcopy(module, memo)

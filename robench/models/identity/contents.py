"""A digest of all that an object holds: tensors, numbers, code, and what that code refers to.

Two processes that build the same object get the same digest: no address, no path, no order of a set is in it. What
belongs to torch, to the standard library or to an installed package is named; what a user wrote is read
(docs/design/0007-identity.md).
"""

from __future__ import annotations

import collections
import functools
import hashlib
import types
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robench.models.identity.code import NAMED, PLAIN, Part, class_part, code_part, function_part, is_library, named
from robench.models.networks.held import INTERNAL

NUMBERS = (Fraction, Decimal)
KINDS = (torch.dtype, torch.device, torch.memory_format, torch.layout)
HOOKS = ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_forward_hooks", "_forward_hooks_with_kwargs")
COMPILED = (torch.fx.GraphModule, torch.jit.ScriptModule)
"""Modules that are programs: their text says what they do, and torch keeps much else on them."""
DECORATED = ("__wrapped__", "_init_fn")
"""Where caches and decorators keep their function, and torch that of an operation of somebody's own."""


def contents_digest(value: Any) -> str:
    """SHA-256 of what an object holds."""
    return _Walk().digest(value)


def tensor_digest(tensor: Tensor) -> str:
    """SHA-256 of dtype, shape and entries; two tensors without entries (`meta`) of one shape are equal."""
    name = f"{tensor.dtype} {tuple(tensor.shape)} {tensor.layout}"
    if tensor.device.type == "meta":
        return name
    plain = tensor.detach().cpu()
    plain = plain.dequantize() if plain.is_quantized else plain.to_dense() if plain.layout != torch.strided else plain
    plain = plain.resolve_conj().resolve_neg().contiguous().reshape(-1)
    plain = torch.view_as_real(plain) if plain.is_complex() else plain
    return f"{name} {hashlib.sha256(plain.reshape(-1).view(torch.uint8).numpy().data).hexdigest()}"


class _Walk:
    """Goes through an object part by part, without recursion; an object met again is named by its number."""

    def __init__(self, seen: Mapping[int, int] | None = None) -> None:
        self._seen = dict(seen or {})
        self._alive: list[Any] = []  # an address is reused once its object is gone

    def digest(self, value: Any) -> str:
        digest = hashlib.sha256()
        stack = [value]
        while stack:
            value = stack.pop()
            try:
                part = self._part(value)
            except Exception:  # an object of a user's class may refuse to be looked at
                part = Part(f"unreadable {type(value).__qualname__}")
            digest.update(f"{len(part.name)} {len(part.parts)} {part.name};".encode("utf-8", "surrogatepass"))
            stack.extend(reversed(part.parts))
        return digest.hexdigest()

    def _part(self, value: Any) -> Part:
        if isinstance(value, Part):
            return value
        if type(value) in PLAIN or isinstance(value, NUMBERS + KINDS):
            return Part(f"{type(value).__name__} {value!r}")
        if type(value) is tuple:
            return Part("tuple", value)
        if isinstance(value, set | frozenset):
            return Part("set", sorted(_Walk(self._seen).digest(item) for item in value))
        if isinstance(value, types.CodeType):
            return code_part(value)
        if id(value) in self._seen:
            return Part(f"again {self._seen[id(value)]}")
        self._seen[id(value)] = len(self._seen)
        self._alive.append(value)
        return _composite(value)


def _composite(value: Any) -> Part:
    """An object that may be met again, or hold itself."""
    if isinstance(value, Tensor):
        return Part(f"tensor {tensor_digest(value)}")
    if isinstance(value, np.ndarray | np.generic):
        return _array(np.asarray(value), getattr(value, "__dict__", {}))
    if isinstance(value, nn.Module):
        return _module(value)
    if isinstance(value, type):
        return class_part(value)
    if isinstance(value, types.FunctionType):
        return function_part(value)
    if isinstance(value, types.MethodType):
        return Part("method", (value.__func__, value.__self__))
    if isinstance(value, functools.partial):
        return Part("partial", (value.func, value.args, value.keywords))
    if isinstance(value, staticmethod | classmethod):
        return Part(type(value).__name__, (value.__func__,))
    if isinstance(value, property):
        return Part("property", (value.fget,))
    return _object(value)


def _array(array: np.ndarray[Any, Any], more: Mapping[str, Any]) -> Part:
    """Dtype, shape and entries, and what a subclass adds, such as a mask."""
    name = f"array {array.dtype} {array.shape}"
    if array.dtype.hasobject:
        return Part(name, [*array.reshape(-1).tolist(), *named(more)])
    return Part(f"{name} {hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}", named(more))


def _module(module: nn.Module) -> Part:
    """A module: its class, parameters, buffers of both kinds, children in order, hooks, and its plain attributes."""
    tensors = [part for table in (module._parameters, module._buffers) for part in named(dict(table.items()))]
    children = [part for name, child in module._modules.items() for part in (name, child)]
    if isinstance(module, COMPILED):
        text = str(getattr(module, "code", ""))
        return Part("program", (text, module.training, *tensors, *children))
    hooks = [hook for name in HOOKS for hook in getattr(module, name, {}).values()]
    attributes = {name: value for name, value in vars(module).items() if name not in INTERNAL}
    state = (Part("tensors", tensors), Part("children", children), Part("hooks", hooks))
    return Part("module", (type(module), module.training, *state, *named(attributes)))


def _object(value: Any) -> Part:
    """An object of any other class: what it contains, and what a user's or a package's class keeps on it."""
    kind = type(value)
    parts: list[Any] = [kind]
    if isinstance(value, Mapping):
        parts += [Part("items", [part for pair in _ordered(value) for part in pair])]
    elif isinstance(value, list | tuple | collections.deque):
        parts += [Part("items", list(value))]
    elif isinstance(value, int | float | complex | str | bytes):
        base: Any = next(base for base in kind.__mro__ if base in PLAIN)
        parts += [base(value)]
    if str(kind.__module__).partition(".")[0] not in NAMED or not is_library(kind):
        slots = [name for base in kind.__mro__ for name in _slots(base) if hasattr(value, name)]
        parts += named({**{name: getattr(value, name) for name in slots}, **getattr(value, "__dict__", {})})
    elif isinstance(value, torch.jit.ScriptFunction):
        parts += [str(value.code)]
    elif inner := [getattr(value, name) for name in DECORATED if hasattr(value, name)]:
        parts += inner
    elif isinstance(value, types.BuiltinFunctionType | types.MethodWrapperType | torch._ops.OpOverload):
        parts += [str(getattr(value, "__qualname__", value))]
    return Part("object", parts)


def _slots(kind: type) -> Iterable[str]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else slots


def _ordered(mapping: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """The items, sorted where the keys are plain: a table built from a set has no order of its own."""
    items = list(mapping.items())
    return sorted(items, key=lambda item: repr(item[0])) if all(type(key) in PLAIN for key, _ in items) else items

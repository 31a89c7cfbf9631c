"""A digest of all that an object holds: tensors, numbers, code, and what that code refers to.

Two processes that build the same object get the same digest: no address, no path, no order of a set is in it. What
belongs to torch, to the standard library or to an installed package is named; what a user wrote is read
(docs/design/0007-identity.md).
"""

from __future__ import annotations

import collections
import functools
import hashlib
import sys
import sysconfig
import types
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from robench.models.networks.held import INTERNAL

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), type(NotImplemented), range, slice)
NUMBERS = (Fraction, Decimal)
KINDS = (torch.dtype, torch.device, torch.memory_format, torch.layout)
HOOKS = ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_forward_hooks", "_forward_hooks_with_kwargs")
COMPILED = (torch.fx.GraphModule, torch.jit.ScriptModule)
"""Modules that are programs: their text says what they do, and torch keeps much else on them."""
DECORATED = ("__wrapped__", "_init_fn")
"""Where caches and decorators keep their function, and torch that of an operation of somebody's own."""
METHODS = (types.FunctionType, staticmethod, classmethod, property)
NAMED = frozenset(sys.stdlib_module_names) | {"torch", "numpy", "robench"}
"""Packages of which an object is named; of another package's, what is kept on it is read too."""
LIBRARIES = (
    *(Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "purelib", "platlib")),
    *(Path(str(package.__file__)).resolve().parent for package in (torch, np)),
    Path(__file__).resolve().parents[2],
)
FIRST_HOMES = {
    "robench.models.networks.input_copy.Copy": "robench.checkpoint.spared.Copy",
    "robench.models.onnx.graph.OnnxGraph": "robench.checkpoint.onnx_graph.OnnxGraph",
    "robench.models.onnx.operations.Node": "robench.checkpoint.onnx_operations.Node",
}
"""robench's own classes in networks that have moved, under the name they have in digests: a move changes no network."""


class Part(NamedTuple):
    """One object as a name, and the objects that it consists of."""

    name: str
    parts: Sequence[Any] = ()


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
            return _code(value)
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
        return _class(value)
    if isinstance(value, types.FunctionType):
        return _function(value)
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
        return Part(name, [*array.reshape(-1).tolist(), *_named(more)])
    return Part(f"{name} {hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}", _named(more))


def _module(module: nn.Module) -> Part:
    """A module: its class, parameters, buffers of both kinds, children in order, hooks, and its plain attributes."""
    tensors = [part for table in (module._parameters, module._buffers) for part in _named(dict(table.items()))]
    children = [part for name, child in module._modules.items() for part in (name, child)]
    if isinstance(module, COMPILED):
        text = str(getattr(module, "code", ""))
        return Part("program", (text, module.training, *tensors, *children))
    hooks = [hook for name in HOOKS for hook in getattr(module, name, {}).values()]
    attributes = {name: value for name, value in vars(module).items() if name not in INTERNAL}
    state = (Part("tensors", tensors), Part("children", children), Part("hooks", hooks))
    return Part("module", (type(module), module.training, *state, *_named(attributes)))


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
    if str(kind.__module__).partition(".")[0] not in NAMED or not _is_library(kind):
        slots = [name for base in kind.__mro__ for name in _slots(base) if hasattr(value, name)]
        parts += _named({**{name: getattr(value, name) for name in slots}, **getattr(value, "__dict__", {})})
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


def _named(table: Mapping[str, Any]) -> list[Any]:
    return [part for name in sorted(table) for part in (name, table[name])]


def _class(kind: type) -> Part:
    """A class: its name if it is a library's, else its bases, methods and constants."""
    if _is_library(kind):
        name = f"{kind.__module__}.{kind.__qualname__}"
        return Part(f"class {FIRST_HOMES.get(name, name)}")
    members = {name: value for name, value in vars(kind).items() if _is_member(name, value)}
    return Part(f"class {kind.__qualname__}", (*kind.__bases__, *_named(members)))


def _is_member(name: str, value: Any) -> bool:
    return isinstance(value, METHODS) if name.startswith("__") and name.endswith("__") else name != "_abc_impl"


def _function(function: types.FunctionType) -> Part:
    """A function: its code, defaults, closure, attributes, and the globals that the code names."""
    if _is_library(function):
        return Part(f"function {function.__module__}.{function.__qualname__}", _inside(function))
    names = sorted(set(_names(function.__code__)))
    used = {name: _global(function.__globals__[name], names) for name in names if name in function.__globals__}
    given = (function.__defaults__, function.__kwdefaults__, vars(function))
    return Part("function", (function.__code__, *given, *_cells(function), Part("globals", _named(used))))


def _inside(function: types.FunctionType) -> list[Any]:
    """What a library's function was made around: the function that it decorates, and numbers."""
    readable = (*PLAIN, Tensor, np.ndarray, types.FunctionType, functools.partial, nn.Module)
    return [value for value in [*_cells(function), *vars(function).values()] if isinstance(value, readable)]


def _cells(function: types.FunctionType) -> list[Any]:
    found: list[Any] = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:
            found.append(Part("an empty cell"))
    return found


def _global(value: Any, names: Sequence[str]) -> Any:
    """A global; of a module that a user wrote, those members that may be meant."""
    if not isinstance(value, types.ModuleType):
        return value
    if _is_library(value):
        return Part(f"library {value.__name__}")
    members = vars(value)
    return Part("file", _named({name: members[name] for name in names if name in members}))


def _names(code: types.CodeType) -> Iterable[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _code(code: types.CodeType) -> Part:
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    return Part("code", (code.co_code, code.co_consts, *names, *shape, getattr(code, "co_exceptiontable", b"")))


def _is_library(value: type | types.FunctionType | types.ModuleType) -> bool:
    """Whether a class, function or module is torch's, robench's, the standard library's, or of an installed package.

    Its file decides, since a user's file may have the name of a library; where it has none, its name.
    """
    if file := _file(value):
        return _lies_in_library(file)
    name = value.__name__ if isinstance(value, types.ModuleType) else str(value.__module__ or "builtins")
    known = getattr(sys.modules.get(name), "__file__", None)
    return _lies_in_library(known) if known else name.partition(".")[0] in NAMED


def _file(value: type | types.FunctionType | types.ModuleType) -> str | None:
    if isinstance(value, types.ModuleType):
        return getattr(value, "__file__", None)
    if isinstance(value, types.FunctionType):
        own = [value]
    else:  # borrowed and decorated functions are of another file
        functions = [item for item in vars(value).values() if isinstance(item, types.FunctionType)]
        own = [item for item in functions if item.__module__ == value.__module__ and not hasattr(item, "__wrapped__")]
    files = [function.__code__.co_filename for function in own]
    return next((file for file in files if not file.startswith("<")), None)


@functools.cache
def _lies_in_library(file: str) -> bool:
    path = Path(file).resolve()
    return "dist-packages" in path.parts or any(path.is_relative_to(folder) for folder in LIBRARIES)

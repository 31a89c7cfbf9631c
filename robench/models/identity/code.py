"""Classes, functions and code as parts of a digest: named where a library has them, read where a user wrote them."""

from __future__ import annotations

import functools
import sys
import sysconfig
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), type(NotImplemented), range, slice)
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
    "robench.models.onnx.node.Node": "robench.checkpoint.onnx_operations.Node",
}
"""robench's own classes in networks that have moved, under the name they have in digests: a move changes no network."""


class Part(NamedTuple):
    """One object as a name, and the objects that it consists of."""

    name: str
    parts: Sequence[Any] = ()


def named(table: Mapping[str, Any]) -> list[Any]:
    """The names of a table in order, each with its value."""
    return [part for name in sorted(table) for part in (name, table[name])]


def class_part(kind: type) -> Part:
    """A class: its name if it is a library's, else its bases, methods and constants."""
    if is_library(kind):
        name = f"{kind.__module__}.{kind.__qualname__}"
        return Part(f"class {FIRST_HOMES.get(name, name)}")
    members = {name: value for name, value in vars(kind).items() if _is_member(name, value)}
    return Part(f"class {kind.__qualname__}", (*kind.__bases__, *named(members)))


def _is_member(name: str, value: Any) -> bool:
    return isinstance(value, METHODS) if name.startswith("__") and name.endswith("__") else name != "_abc_impl"


def function_part(function: types.FunctionType) -> Part:
    """A function: its code, defaults, closure, attributes, and the globals that the code names."""
    if is_library(function):
        return Part(f"function {function.__module__}.{function.__qualname__}", _inside(function))
    names = sorted(set(_names(function.__code__)))
    used = {name: _global(function.__globals__[name], names) for name in names if name in function.__globals__}
    given = (function.__defaults__, function.__kwdefaults__, vars(function))
    return Part("function", (function.__code__, *given, *_cells(function), Part("globals", named(used))))


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
    if is_library(value):
        return Part(f"library {value.__name__}")
    members = vars(value)
    return Part("file", named({name: members[name] for name in names if name in members}))


def _names(code: types.CodeType) -> Iterable[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def code_part(code: types.CodeType) -> Part:
    """Bytecode with constants, names and the shape of its arguments; no path, no line number."""
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    return Part("code", (code.co_code, code.co_consts, *names, *shape, getattr(code, "co_exceptiontable", b"")))


def is_library(value: type | types.FunctionType | types.ModuleType) -> bool:
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

"""What a factory in a user's file makes: a torch module, taken out of its wrappers."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robench.errors import ModelError, did_you_mean
from robench.models.networks.plain import script_refusal
from robench.models.user_code.blame import blamed, calling_place
from robench.models.user_code.importing import import_file, importable, source_in
from robench.models.user_code.surroundings import kept_surroundings

FACTORY = re.compile(r"(?P<file>.+\.py):(?P<name>[^\W\d]\w*(\.[^\W\d]\w*)*)", re.DOTALL)
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, torch.optim.swa_utils.AveragedModel)
"""Modules that call their `module` and compute nothing themselves."""

_COMPILED = ("torch._dynamo.eval_frame", "OptimizedModule")
"""What torch.compile makes of a module, by name: the compiler is slow to import."""


def make_module(path: Path, name: str) -> nn.Module:
    """What `name` in a file makes, or is; the process is left as it was.

    Args:
        path: of the file.
        name: a function or class that needs no arguments, or a module; dotted for an attribute of a class.

    Raises:
        ModelError: the file does not run, has no such name, or makes something else.
    """
    path = path.absolute()
    if not path.is_file():
        raise ModelError(f"`{path}` does not exist", hint="write the model as FILE.py:factory")
    path = path.resolve()
    ref = f"{path.name}:{name}"
    with kept_surroundings(), _as_script(path) as arguments, importable(path):
        with blamed(f"`{path.name}`", "on import"):
            user_file = import_file(path)
        factory = _named(user_file, name, path)
        if isinstance(factory, nn.Module):
            made: Any = factory
        else:
            _require_no_arguments(factory, ref)
            with blamed(f"`{ref}`"):
                made = factory()
    if arguments.read_in is not None:
        raise ModelError(
            f"`{path.name}` parses command-line arguments in {arguments.read_in}, so its model depends on arguments "
            "that robench does not pass",
            hint='move the parsing under `if __name__ == "__main__":`, or call `parse_args([])` if the defaults '
            "are meant",
        )
    with blamed(f"`{ref}`"):
        return as_module(made, ref)


def factories_in(path: Path) -> list[str]:
    """Names at the top level of a file that may be factories."""
    try:
        nodes = source_in(path).body
    except (SyntaxError, ValueError, OSError, RecursionError):
        return []
    named = [node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    for node in nodes:
        if isinstance(node, ast.Assign):
            named += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return [name for name in named if not name.startswith("_")]


class _Arguments(list[str]):
    """`sys.argv` of a file run without arguments, which notes that somebody asked for them.

    Parsers (argparse, click, fire, absl) take `sys.argv[1:]`. A default that an option has without being asked for
    would be certified for a model that was trained with another one.
    """

    read_in: str | None = None

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice) and (place.start or 0) > 0:
            self.read_in = calling_place()
        return super().__getitem__(place)


@contextlib.contextmanager
def _as_script(path: Path) -> Iterator[_Arguments]:
    before, arguments = sys.argv, _Arguments([str(path)])
    sys.argv = arguments
    try:
        yield arguments
    except ModelError as error:
        if arguments.read_in is not None and isinstance(error.__cause__, SystemExit):
            error.hint = 'robench passes no arguments: move the parsing under `if __name__ == "__main__":`'
        raise
    finally:
        sys.argv = before


def _named(user_file: Any, name: str, path: Path) -> Any:
    try:
        with blamed(f"`{path.name}:{name}`"):
            found = functools.reduce(getattr, name.split("."), user_file)
    except ModelError:
        hint = did_you_mean(name, factories_in(path)) if factories_in(path) else "the file defines nothing"
        raise ModelError(f"`{path}` has no function `{name}`", hint=hint) from None
    if not callable(found):
        raise ModelError(
            f"`{path}` has no function `{name}`: it is of type {type(found).__name__}",
            hint="name a function without arguments that returns the model, or the model itself",
        )
    return found


def _require_no_arguments(factory: Callable[..., Any], ref: str) -> None:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # some callables written in C
        return
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [part.name for part in parameters if part.default is part.empty and part.kind not in kinds]
    if needed:
        raise ModelError(
            f"`{ref}` needs arguments: {', '.join(needed)}",
            hint="add a function without arguments that calls it, such as `def make(): return ...`, and name that",
        )


def as_module(made: Any, ref: str) -> nn.Module:
    """The module itself, out of wrappers that compute nothing, wherever they are.

    Raises:
        ModelError: it is no torch module, or TorchScript.
    """
    if isinstance(made, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        raise script_refusal(f"`{ref}`")
    if not isinstance(made, nn.Module):
        what, hint = _other(made)
        raise ModelError(f"`{ref}` returns {what}", hint=hint)
    module = _unwrapped(made)
    for name, part in list(module.named_modules()):
        if isinstance(part, torch.jit.ScriptModule):
            raise script_refusal(f"`{name}` of `{ref}`" if name else f"`{ref}`")
        for key, child in part._modules.items():
            if child is not None:
                part._modules[key] = _unwrapped(child)
    return module


def _unwrapped(module: nn.Module) -> nn.Module:
    while True:
        kind = type(module)
        if isinstance(module, _WRAPPERS):
            module = module.module
        elif (kind.__module__, kind.__name__) == _COMPILED:
            module = module.get_submodule("_orig_mod")
        else:
            return module


def _other(made: Any) -> tuple[str, str]:
    """What a factory returned instead of a module, and what to do."""
    if made is None:
        return "None", "let it end with `return model`"
    if isinstance(made, type):
        return f"the class {made.__name__}", f"return an instance: `return {made.__name__}()`"
    if isinstance(made, list | tuple | dict):
        parts = ", ".join(type(part).__name__ for part in (made.values() if isinstance(made, dict) else made))
        return f"a {type(made).__name__} ({parts})", "return the model alone"
    if inspect.isgenerator(made) or inspect.iscoroutine(made):
        return f"a {type(made).__name__}", "use `return` in a plain function"
    if callable(made):
        return f"{type(made).__name__}, which is no torch.nn.Module", "return a torch.nn.Module that calls it"
    return type(made).__name__, "return a torch.nn.Module"

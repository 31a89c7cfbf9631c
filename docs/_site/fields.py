"""Specs and errors as tables, read from the code: the meaning of a field is its line under `Fields:` of the class."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal

import robench.specs
from robench import errors
from robench.specs.base import Spec

UNWRITTEN = ("type", "schema_version")
"""Fields that have one value, which names the class: the table says which."""


def spec_classes() -> Iterator[type[Spec]]:
    """Every spec, module by module."""
    for module in sorted(pkgutil.iter_modules(robench.specs.__path__), key=lambda module: module.name):
        loaded = importlib.import_module(f"robench.specs.{module.name}")
        for kind in vars(loaded).values():
            if inspect.isclass(kind) and issubclass(kind, Spec) and kind.__module__ == loaded.__name__ and kind != Spec:
                yield kind


def meanings(kind: type[Any]) -> dict[str, str]:
    """Field to meaning, as the docstring of a class has them under `Fields:`."""
    text = inspect.getdoc(kind) or ""
    _, found, part = text.partition("Fields:\n")
    part = re.split(r"\n(?! )", part)[0] if found else ""
    entries = re.findall(r"^ {4}([\w, ]+): (.*(?:\n {5,}.*)*)", part, re.MULTILINE)
    return {
        name.strip(): re.sub(r"\s+", " ", meaning).strip() for names, meaning in entries for name in names.split(",")
    }


def missing(kind: type[Any]) -> list[str]:
    """Fields of a dataclass that have no meaning written down."""
    known = meanings(kind)
    return [field.name for field in dataclasses.fields(kind) if field.name not in known and field.name not in UNWRITTEN]


def specs_table() -> str:
    """A section for each spec."""
    return "\n\n".join(_section(kind) for kind in spec_classes())


def errors_table() -> str:
    """A line for each error."""
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.RobenchError)]
    rows = [f"| `{kind.__name__}` | {(inspect.getdoc(kind) or '').splitlines()[0]} |" for kind in kinds]
    return "\n".join(["| error | when |", "|---|---|", *rows])


TABLES: dict[str, Callable[[], str]] = {"table of specs": specs_table, "table of errors": errors_table}
"""Markers in pages, and what comes in their place."""


def _section(kind: type[Spec]) -> str:
    about = (inspect.getdoc(kind) or "").split("Fields:\n")[0].strip()
    known, hints = meanings(kind), typing.get_type_hints(kind)
    rows = [
        f"| `{field.name}` | {_type(hints[field.name])} | {_default(field)} | {_cell(known.get(field.name, ''))} |"
        for field in dataclasses.fields(kind)
    ]
    table = ["| field | type | default | meaning |", "|---|---|---|---|", *rows] if rows else ["It has no fields."]
    return "\n".join([f"### {kind.__name__}", "", _escaped(about), "", *table])


def _escaped(text: str) -> str:
    return text.replace("*", "\\*")


def _cell(text: str) -> str:
    return _escaped(text).replace("|", "\\|")


def _type(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(hint))
    if isinstance(hint, type) and issubclass(hint, Spec):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    parts = [_type(part) for part in typing.get_args(hint) if part is not Ellipsis]
    origin = typing.get_origin(hint)
    if origin in (tuple, list):
        return "list of " + " or ".join(dict.fromkeys(parts))
    if origin is dict:
        return "table"
    if parts:
        return " or ".join("nothing" if part == "NoneType" else part for part in parts)
    return getattr(hint, "__name__", str(hint)).replace("typing.", "")


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`"
    if field.default_factory is not dataclasses.MISSING:
        return "its defaults"
    return "required"

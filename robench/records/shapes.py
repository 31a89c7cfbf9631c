"""What plain data from a file must look like, field by field, before anything is computed with it.

A shape is a type (`float` takes whole numbers too, finite ones only), a tuple of shapes of which one must fit, a list
with the shape of its items, a table of fields of which each that is there must fit, or None. The key `ANY` in a table
stands for every other field.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

ANY = "*"
LARGEST = 2**53
"""Whole numbers up to here are exact in every reader of JSON."""


def fitting(shape: Any) -> Callable[[Any], bool]:
    """A quick check for many data of one shape: what passes fits, and of the rest `misfit` says what does not fit."""
    if isinstance(shape, tuple):
        return _one_of([fitting(one) for one in shape if one is not None], None in shape)
    if isinstance(shape, Mapping):
        return _table_check({key: fitting(inner) for key, inner in shape.items()})
    if isinstance(shape, list):
        return _list_check(shape[0])
    return _check_of(shape)


def misfit(data: Any, shape: Any, name: str) -> str | None:
    """The first part of `data` that does not fit, with what it is; None where all of it fits.

    Args:
        data: as read from JSON.
        shape: what it must be.
        name: of the data, for the text.
    """
    if isinstance(shape, tuple):
        problems = [misfit(data, one, name) for one in shape]
        return None if None in problems else problems[0]
    if isinstance(shape, Mapping):
        return _in_table(data, shape, name)
    if isinstance(shape, list):
        return _in_list(data, shape[0], name)
    fits = data is None if shape is None else _is_of(data, shape)
    return None if fits else f"`{name}` is {_short(data)}, not {'null' if shape is None else shape.__name__}"


def _one_of(checks: Sequence[Callable[[Any], bool]], maybe_none: bool) -> Callable[[Any], bool]:
    if len(checks) == 1 and maybe_none:
        only = checks[0]
        return lambda data: data is None or only(data)
    return lambda data: (maybe_none and data is None) or any(check(data) for check in checks)


def _table_check(table: Mapping[str, Callable[[Any], bool]]) -> Callable[[Any], bool]:
    known, other = dict(table), table.get(ANY)

    def check(data: Any) -> bool:
        if type(data) is not dict:
            return False
        for key, value in data.items():
            inner = known.get(key, other)
            if inner is not None and not inner(value):
                return False
        return True

    return check


def _list_check(shape: Any) -> Callable[[Any], bool]:
    if shape is str:  # the texts of a record's radii are most of its parts
        return lambda data: type(data) is list and {str}.issuperset(map(type, data))
    inner = fitting(shape)
    return lambda data: type(data) is list and all(map(inner, data))


def _check_of(kind: type | None) -> Callable[[Any], bool]:
    """The check of one value as JSON has it."""
    if kind is None:
        return lambda data: data is None
    if kind is float:
        largest = sys.float_info.max
        return lambda data: (type(data) is float or type(data) is int) and -largest <= data <= largest
    if kind is int:
        return lambda data: type(data) is int and -LARGEST <= data <= LARGEST
    return lambda data: type(data) is kind


def _in_table(data: Any, shape: Mapping[str, Any], name: str) -> str | None:
    if not isinstance(data, Mapping):
        return f"`{name}` is {_short(data)}, not a table"
    for key, value in data.items():
        inner = shape.get(key, shape.get(ANY))
        problem = misfit(value, inner, f"{name}.{key}") if key in shape or ANY in shape else None
        if problem:
            return problem
    return None


def _in_list(data: Any, shape: Any, name: str) -> str | None:
    if not isinstance(data, list):
        return f"`{name}` is {_short(data)}, not a list"
    problems = (misfit(item, shape, f"{name}.{number}") for number, item in enumerate(data))
    return next((problem for problem in problems if problem), None)


def _is_of(data: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(data, int | float) and not isinstance(data, bool) and abs(data) <= sys.float_info.max
    if kind is int:
        return isinstance(data, int) and not isinstance(data, bool) and abs(data) <= LARGEST
    return isinstance(data, kind)


def _short(data: Any) -> str:
    text = ascii(data)
    return f"{text[:60]}..." if len(text) > 60 else text

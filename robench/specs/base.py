"""Specs: frozen dataclasses that say all that decides a result.

A spec is built from plain data (`from_dict`), goes back to it (`to_dict`), and has a digest; unknown fields and wrong
types are refused, all of them at once, each with name, expectation and what was given.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from robench.errors import SpecError, did_you_mean

S = TypeVar("S", bound="Spec")


class Spec:
    """Base of every spec; subclasses are `@dataclass(frozen=True, kw_only=True)`.

    Subclasses check ranges in `__post_init__` and raise `SpecError`.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; `from_dict` of it equals this spec."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls: type[S], data: Mapping[str, Any]) -> S:
        """Build from plain data.

        Raises:
            SpecError: unknown or missing fields, or values of the wrong type; all of them in one message.
        """
        problems: list[str] = []
        value = _build(cls, data, cls.__name__, problems)
        if problems:
            raise SpecError("; ".join(problems), hint="mend the fields named above")
        assert isinstance(value, cls)
        return value

    def override(self: S, changes: Mapping[str, Any]) -> S:
        """A copy with some fields changed; keys are dotted paths such as `loss.alpha`.

        Raises:
            SpecError: an unknown field or a value of the wrong type.
        """
        data = self.to_dict()
        for path, value in changes.items():
            target: Any = data
            *parents, leaf = path.split(".")
            for parent in parents:
                if not isinstance(target, dict) or parent not in target:
                    raise _unknown_field(path, parent, target)
                target = target[parent]
            if not isinstance(target, dict) or leaf not in target:
                raise _unknown_field(path, leaf, target)
            target[leaf] = value
        return type(self).from_dict(data)

    def digest(self) -> str:
        """SHA-256 of the canonical JSON; 2 and 2.0 in a float field are the same."""
        return digest(type(self).from_dict(self.to_dict()).to_dict())


def digest(data: Any) -> str:
    """SHA-256 of plain data as canonical JSON (sorted keys, no NaN)."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _unknown_field(path: str, part: str, target: Any) -> SpecError:
    known = list(target) if isinstance(target, dict) else []
    return SpecError(f"unknown field `{path}`", hint=did_you_mean(part, known) if known else "it has no such part")


def _plain(value: Any) -> Any:
    if isinstance(value, Spec):
        return value.to_dict()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _build(expected: Any, value: Any, name: str, problems: list[str]) -> Any:
    """`value` as an instance of the annotation `expected`; what does not fit is added to `problems`."""
    origin, args = get_origin(expected), get_args(expected)
    if isinstance(expected, type) and issubclass(expected, Spec):
        return _build_spec(expected, value, name, problems)
    if origin in (Union, types.UnionType):
        return _build_union(args, value, name, problems)
    if origin is Literal:
        if value not in args:
            hint = did_you_mean(str(value), [str(arg) for arg in args])
            problems.append(f"`{name}` must be one of {', '.join(map(str, args))}; got `{value}` ({hint})")
        return value
    if origin is tuple:
        return _build_tuple(args, value, name, problems)
    if origin is dict or expected is dict:
        if isinstance(value, Mapping):
            item = args[1] if args else Any
            return {str(key): _build(item, entry, f"{name}.{key}", problems) for key, entry in value.items()}
    elif expected is Any:
        return value
    elif expected is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(value, expected) and not (expected is int and isinstance(value, bool)):
        return value
    problems.append(f"`{name}` must be of type {_type_name(expected)}; got `{value!r}`")
    return value


def _build_spec(expected: type[Spec], value: Any, name: str, problems: list[str]) -> Any:
    if isinstance(value, expected):
        return value
    if not isinstance(value, Mapping):
        problems.append(f"`{name}` must be a table of fields; got `{value!r}`")
        return value
    hints = get_type_hints(expected)
    fields = {field.name: field for field in dataclasses.fields(expected)}
    before = len(problems)
    for key in value:
        if key not in fields:
            problems.append(f"unknown field `{name}.{key}` ({did_you_mean(str(key), fields)})")
    required = {
        key
        for key, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    problems.extend(f"field `{name}.{key}` is missing" for key in sorted(required - set(value)))
    known = {key: _build(hints[key], item, f"{name}.{key}", problems) for key, item in value.items() if key in fields}
    if len(problems) > before:
        return value
    try:
        return expected(**known)
    except SpecError as error:
        problems.append(f"{error.message} ({error.hint})")
        return value


def _build_union(args: tuple[Any, ...], value: Any, name: str, problems: list[str]) -> Any:
    if value is None and type(None) in args:
        return None
    options = [arg for arg in args if arg is not type(None)]
    tagged = [arg for arg in options if isinstance(arg, type) and issubclass(arg, Spec) and _tag(arg) is not None]
    if tagged and isinstance(value, Mapping):
        by_tag = {_tag(arg): arg for arg in tagged}
        kind = value.get("type")
        if not isinstance(kind, str) or kind not in by_tag:
            hint = did_you_mean(str(kind), [str(tag) for tag in by_tag])
            problems.append(f"`{name}.type` is `{kind}`, which is not known ({hint})")
            return value
        return _build(by_tag[kind], value, name, problems)
    attempts = []
    for option in options:
        trial: list[str] = []
        built = _build(option, value, name, trial)
        if not trial:
            return built
        attempts.append(trial)
    problems.extend(attempts[-1])
    return value


def _build_tuple(args: tuple[Any, ...], value: Any, name: str, problems: list[str]) -> Any:
    if not isinstance(value, list | tuple):
        problems.append(f"`{name}` must be a list; got `{value!r}`")
        return value
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_build(args[0], item, f"{name}[{i}]", problems) for i, item in enumerate(value))
    if len(args) != len(value):
        problems.append(f"`{name}` must have {len(args)} items; got {len(value)}")
        return value
    return tuple(
        _build(arg, item, f"{name}[{i}]", problems) for i, (arg, item) in enumerate(zip(args, value, strict=True))
    )


def _tag(spec: type[Spec]) -> str | None:
    """The value of a spec's `type: Literal["…"] = "…"` field, which tells the members of a union apart."""
    field = spec.__dataclass_fields__.get("type")
    return field.default if field is not None and isinstance(field.default, str) else None


def _type_name(expected: Any) -> str:
    return expected.__name__ if isinstance(expected, type) else str(expected)

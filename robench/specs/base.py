"""Specs: frozen dataclasses that say all that decides a result.

A spec is built from plain data (`from_dict`), goes back to it (`to_dict`), and has a digest. Unknown fields, wrong
types and numbers out of range are refused, all of them at once, each with name, expectation and what was given.
Why no library does this: docs/design/0013-specs.md.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import numbers
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from robench.errors import SpecError, did_you_mean

S = TypeVar("S", bound="Spec")
CORRECT = "correct the fields named above"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range:
    """The finite numbers that a field may hold; it stands in the annotation: `Annotated[int, Range(smallest=1)]`."""

    smallest: float = -math.inf
    above: float = -math.inf
    below: float = math.inf
    largest: float = math.inf

    def __contains__(self, value: float) -> bool:
        return math.isfinite(value) and self.smallest <= value <= self.largest and self.above < value < self.below

    def __str__(self) -> str:
        low = f"above {self.above:g}" if self.above > -math.inf else f"{self.smallest:g} or more"
        high = f" and below {self.below:g}" if self.below < math.inf else ""
        return low + (f" and at most {self.largest:.0f}" if self.largest < math.inf else high)


PositiveInt = Annotated[int, Range(smallest=1)]
NonNegativeInt = Annotated[int, Range(smallest=0)]
PositiveFloat = Annotated[float, Range(above=0.0)]
NonNegativeFloat = Annotated[float, Range(smallest=0.0)]


class Spec:
    """Base of every spec; subclasses are `@dataclass(frozen=True, kw_only=True)`.

    Annotations say types and ranges. A subclass whose fields must also fit each other checks that in its own
    `__post_init__`, after this class's, and raises `SpecError`.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __post_init__(self) -> None:
        """Check types and ranges, and make each value what its annotation says: 2 in a float field is 2.0."""
        problems: list[SpecError] = []
        for name, expected in _annotations(type(self)).items():
            value = _build(expected, getattr(self, name), f"{type(self).__name__}.{name}", problems)
            object.__setattr__(self, name, value)
        if problems:
            raise _refused(problems)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; `from_dict` of it equals this spec."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls: type[S], data: Mapping[str, Any]) -> S:
        """Build from plain data.

        Raises:
            SpecError: unknown or missing fields, or values of the wrong type or out of range; all in one message.
        """
        value = from_plain(cls, data, cls.__name__)
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
                    raise _unknown_field(path, parent, target, data)
                target = target[parent]
            if not isinstance(target, dict) or leaf not in target:
                raise _unknown_field(path, leaf, target, data)
            target[leaf] = value
        made: S = from_plain(type(self), data, "")
        return made

    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return digest(self.to_dict())


def from_plain(expected: Any, data: Any, name: str) -> Any:
    """Plain data as what an annotation says, such as a union of specs.

    Args:
        expected: the annotation.
        data: what JSON or TOML gives.
        name: how to call the data in a message; empty where its fields are known by their own names.

    Raises:
        SpecError: as `Spec.from_dict`.
    """
    problems: list[SpecError] = []
    value = _build(expected, data, name, problems)
    if problems:
        raise _refused(problems)
    return value


def whole(name: str, value: Any, least: int) -> int:
    """An integer that a user gave.

    Args:
        name: of the setting.
        value: what was given.
        least: the smallest one that serves.

    Raises:
        SpecError: it is none, or smaller.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise SpecError(f"`{name}` is {value!r}", hint=f"give an integer from {least} up")
    return int(value)


def digest(data: Any) -> str:
    """SHA-256 of plain data as canonical JSON (sorted keys, no NaN)."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _refused(problems: Sequence[SpecError]) -> SpecError:
    """One error for all that is wrong; there is something."""
    if len(problems) == 1:
        return problems[0]
    told = [item.message if item.hint == CORRECT else f"{item.message} ({item.hint})" for item in problems]
    return SpecError("; ".join(told), hint=CORRECT)


def _wrong(message: str) -> SpecError:
    return SpecError(message, hint=CORRECT)


def _annotations(spec: type[Spec]) -> dict[str, Any]:
    """The fields with their annotations."""
    hints = get_type_hints(spec, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(spec)}


def _unknown_field(path: str, part: str, target: Any, whole: Mapping[str, Any]) -> SpecError:
    """The refusal of a dotted path, with the paths that end alike: who writes `alpha` may mean `loss.alpha`."""
    last = path.rpartition(".")[2].casefold()
    alike = [known for known in _paths(whole) if known.rpartition(".")[2].casefold() == last]
    if alike:
        return SpecError(f"unknown field `{path}`", hint=f"did you mean {' or '.join(f'`{text}`' for text in alike)}?")
    known = list(target) if isinstance(target, dict) else []
    return SpecError(f"unknown field `{path}`", hint=did_you_mean(part, known) if known else "it has no such part")


def _paths(data: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted paths of all fields, those of tables within tables too."""
    found = []
    for key, value in data.items():
        found += [f"{prefix}{key}", *(_paths(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [])]
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Spec):
        return value.to_dict()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _build(expected: Any, value: Any, name: str, problems: list[SpecError]) -> Any:
    """`value` as an instance of the annotation `expected`; what does not fit is added to `problems`."""
    origin, args = get_origin(expected), get_args(expected)
    if isinstance(expected, type) and issubclass(expected, Spec):
        return _build_spec(expected, value, name, problems)
    if origin is Annotated:
        return _build_in_range(args[0], args[1], value, name, problems)
    if origin in (Union, types.UnionType):
        return _build_union(args, value, name, problems)
    if origin is Literal:
        if value not in args:
            hint = did_you_mean(str(value), [str(arg) for arg in args])
            text = f"`{name}` must be one of {', '.join(map(str, args))}; got `{value}`"
            problems.append(SpecError(text, hint=hint))
        return value
    if origin is tuple:
        return _build_tuple(args, value, name, problems)
    if origin is dict or expected is dict:
        if isinstance(value, Mapping):
            item = args[1] if args else Any
            return {str(key): _build(item, entry, _dotted(name, key), problems) for key, entry in value.items()}
    elif expected is Any:
        return value
    elif expected is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(value, expected) and not (expected is int and isinstance(value, bool)):
        return value
    problems.append(_wrong(f"`{name}` must be of type {_type_name(expected)}; got `{value!r}`"))
    return value


def _dotted(name: str, key: object) -> str:
    return f"{name}.{key}" if name else str(key)


def _build_in_range(expected: Any, allowed: Range, value: Any, name: str, problems: list[SpecError]) -> Any:
    before = len(problems)
    built = _build(expected, value, name, problems)
    if len(problems) == before and built not in allowed:
        problems.append(_wrong(f"`{name}` must be {allowed}; got `{value!r}`"))
    return built


def _build_spec(expected: type[Spec], value: Any, name: str, problems: list[SpecError]) -> Any:
    if isinstance(value, expected):
        return value
    if not isinstance(value, Mapping):
        problems.append(_wrong(f"`{name}` must be a table of fields; got `{value!r}`"))
        return value
    hints = _annotations(expected)
    before = len(problems)
    for key in value:
        if key not in hints:
            problems.append(SpecError(f"unknown field `{_dotted(name, key)}`", hint=did_you_mean(str(key), hints)))
    required = {
        field.name
        for field in dataclasses.fields(expected)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    problems.extend(_wrong(f"field `{_dotted(name, key)}` is missing") for key in sorted(required - set(value)))
    known = {key: _build(hints[key], item, _dotted(name, key), problems) for key, item in value.items() if key in hints}
    if len(problems) > before:
        return value
    try:
        return expected(**known)
    except SpecError as error:
        problems.append(error)
        return value


def _build_union(args: tuple[Any, ...], value: Any, name: str, problems: list[SpecError]) -> Any:
    if value is None and type(None) in args:
        return None
    options = [arg for arg in args if arg is not type(None)]
    tagged = [arg for arg in options if isinstance(arg, type) and issubclass(arg, Spec) and _tag(arg) is not None]
    if tagged and isinstance(value, Mapping):
        by_tag = {_tag(arg): arg for arg in tagged}
        kind = value.get("type")
        if not isinstance(kind, str) or kind not in by_tag:
            hint = did_you_mean(str(kind), [str(tag) for tag in by_tag])
            problems.append(SpecError(f"`{_dotted(name, 'type')}` is `{kind}`, which is not known", hint=hint))
            return value
        return _build(by_tag[kind], value, name, problems)
    attempts = []
    for option in options:
        trial: list[SpecError] = []
        built = _build(option, value, name, trial)
        if not trial:
            return built
        attempts.append(trial)
    problems.extend(attempts[-1])
    return value


def _build_tuple(args: tuple[Any, ...], value: Any, name: str, problems: list[SpecError]) -> Any:
    if not isinstance(value, list | tuple):
        problems.append(_wrong(f"`{name}` must be a list; got `{value!r}`"))
        return value
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_build(args[0], item, f"{name}[{i}]", problems) for i, item in enumerate(value))
    if len(args) != len(value):
        problems.append(_wrong(f"`{name}` must have {len(args)} items; got {len(value)}"))
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

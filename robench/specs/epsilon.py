"""L2 radii as the user writes them: `0.5`, `36/255`; keys of results are the strings as given."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Sequence, Set
from fractions import Fraction
from typing import Any, TypeAlias

from robench.errors import SpecError

Epsilon: TypeAlias = float | str | Fraction
"""An L2 radius: a number, a fraction, or a text such as `36/255`."""
Epsilons: TypeAlias = Epsilon | Iterable[Any]
"""One or several radii, also as array or tensor."""
HINT = "give L2 radii in input units as numbers or fractions above 0, such as `0.5` or `36/255`"
DEFAULT_EPS = ("36/255", "0.5", "1", "1.58", "2", "3")
"""At which certified accuracy is stated where no radius was asked."""


def epsilon_value(text: str) -> float:
    """The float64 nearest to the number written in `text`.

    Raises:
        SpecError: not a finite number above 0.
    """
    try:
        numerator, slash, denominator = text.strip().partition("/")
        # no decimal as a fraction: `1e999999999` would be that many digits
        value = float(Fraction(int(numerator), int(denominator))) if slash else float(numerator)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise SpecError(f"`{text}` is not a radius", hint=HINT) from None
    if not math.isfinite(value):
        raise SpecError(f"the radius `{text}` is no finite number in float64", hint=HINT)
    if value <= 0:
        raise SpecError(f"the radius `{text}` is not above 0 in float64", hint=HINT)
    return value


def ascending(eps: Iterable[str]) -> tuple[str, ...]:
    """Radii in ascending order, each value once, in its first spelling."""
    by_value: dict[float, str] = {}
    for text in eps:
        by_value.setdefault(epsilon_value(text), text)
    return tuple(by_value[value] for value in sorted(by_value))


def split_epsilons(given: Iterable[str]) -> tuple[str, ...]:
    """The radii of repeated options and comma lists, checked, in ascending order, each once.

    Raises:
        SpecError: one of them is not a radius, or there is none.
    """
    texts = dict.fromkeys(part.strip() for item in given for part in item.split(",") if part.strip())
    if not texts:
        raise SpecError("no radius given", hint=HINT)
    return tuple(sorted(texts, key=epsilon_value))


def epsilons(eps: Epsilons) -> tuple[str, ...]:
    """Radii as written, in ascending order, each once.

    Args:
        eps: a number, a fraction, a text such as `36/255` or `0.5,1`; or several of these, also as array or tensor.

    Raises:
        SpecError: one of them is not a finite number above 0, or there is none.
    """
    if hasattr(eps, "flatten"):  # an array, a tensor, or a scalar of numpy
        eps = eps.flatten().tolist()
    if isinstance(eps, str) or not isinstance(eps, Sequence | Set):
        eps = [eps]
    return split_epsilons(map(_written, eps))


def epsilon_or_zero(eps: Epsilon) -> float:
    """The value of one radius as `epsilons` takes it; 0 as well.

    Raises:
        SpecError: it is not a finite number from 0 up, or there are several.
    """
    if isinstance(eps, numbers.Real) and not isinstance(eps, bool) and eps == 0:
        return 0.0
    written = epsilons(eps)
    if len(written) != 1:
        raise SpecError(f"{len(written)} radii are given, {', '.join(written)}", hint="ask for one after the other")
    return epsilon_value(written[0])


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return str(value) if isinstance(value, int) else repr(float(value))
    raise SpecError(f"`{value!r}` is not a radius", hint=HINT)

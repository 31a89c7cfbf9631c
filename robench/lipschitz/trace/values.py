"""What the results of operations are to the walk: views, sums of squares, their signs, unusable ones, constants."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robench.lipschitz.trace.signals import View
from robench.lipschitz.trace.spectrum import Spectrum
from robench.numerics import round_up


class Part(NamedTuple):
    """What is squared, and the largest column sum of its coefficients."""

    columns: float
    view: View


@dataclass(eq=False)
class Squares:
    """Weighted sums of squares, waiting for their root: Σ over parts of N (view²), N ≥ 0.

    Fields:
        parts: what is squared.
        zero: value for the input 0.
        terms: operations an entry took.
        relative: how far the coefficients N are off in float32, relative to themselves.
        constant: how far a constant under the root is off in float32, as the coordinate √constant.
        underflow: of an entry, in smallest normal numbers.
    """

    parts: tuple[Part, ...]
    zero: Tensor
    terms: int
    relative: float = 0.0
    constant: float = 0.0
    underflow: float = 2.0

    def weighted(self, zero: Tensor, columns: float, rows: float, terms: int, relative: float = 0.0) -> Squares:
        """A non-negative matrix on them.

        Args:
            zero: the result for the input 0.
            columns: largest column sum.
            rows: largest row sum.
            terms: operations that an entry takes.
            relative: how far the matrix is off in float32, relative to itself.
        """
        parts = (part._replace(columns=_exact_product(part.columns, columns)) for part in self.parts)
        return Squares(
            tuple(parts),
            zero,
            self.terms + terms,
            round_up(self.relative + relative + self.relative * relative, 3) if relative else self.relative,
            round_up(self.constant * math.sqrt(rows), 2) if self.constant else 0.0,
            round_up(self.underflow * rows + 2 * (terms + 1), 2),
        )


def _exact_product(a: float, b: float) -> float:
    """Rounded up, but for a factor of 1."""
    return a * b if 1.0 in (a, b) else round_up(a * b)


@dataclass(eq=False)
class SignOf:
    """The sign of sums of squares: a factor that changes nothing when they are multiplied by it."""

    squares: Squares
    zero: Tensor


@dataclass(eq=False)
class Unusable:
    """A result that has no Lipschitz bound, such as the indices of a maximum; harmless unless something uses it."""

    zero: Any
    what: str


Value = Any
"""A View, Squares, SignOf, Unusable, a constant tensor, plain data, or a list of these."""


def concrete(value: Value) -> Any:
    """What the network computes for the input 0."""
    if isinstance(value, View | Squares | SignOf | Unusable | Spectrum):
        return value.zero
    if isinstance(value, list | tuple):
        return type(value)(concrete(item) for item in value)
    return value


def depends(value: Value) -> bool:
    """Whether a value depends on the network's input."""
    if isinstance(value, list | tuple):
        return any(depends(item) for item in value)
    return isinstance(value, View | Squares | SignOf | Unusable | Spectrum)


class Number(float):
    """A number that the float64 network is given, which is another one, `deployed`, in the float32 network."""

    deployed: float


def apart(own: Tensor, other: Tensor) -> Tensor:
    """|own − other|, rounded up; what both were computed with in float64 included."""
    difference = torch.where(own == other, 0.0, (own - other).abs())
    return torch.where(difference > 0, difference * (1 + 2.0**-40) + 2.0**-48 * own.abs(), difference)


def described(value: Value) -> str:
    """What a value is that no rule takes."""
    if isinstance(value, Squares):
        return "a sum of squares without its root, which grows without bound"
    if isinstance(value, Unusable):
        return value.what
    return "of a kind it has no rule for"


def unusable(value: Value) -> Iterator[Unusable]:
    """The results without a bound among some values."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from unusable(item)
    elif isinstance(value, Unusable):
        yield value

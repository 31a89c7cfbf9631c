"""The abstract values of the walk: what a network computes, as signals that depend on each other.

A `Signal` is the result of one operation; a `View` is a copy of some of its entries (slices, reshapes, permutations,
padding, concatenations of parts), known by index, so that parts which are taken apart and joined again cost nothing.
Each signal knows an upper bound of its Lipschitz constant with respect to the network's input, and of the rounding
error of its computation (docs/design/0004-soundness.md §1 and §5).
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from robench.lipschitz.norms.rounding import EXACT, NOTHING, Growth, Slack, vector_norm_upper
from robench.numerics import round_up

BATCH = 2
"""Samples in the batch that a network is traced with. An operation that mixes them is refused."""

_order = itertools.count()


@dataclass(eq=False)
class View:
    """Entries of a signal in a new order.

    Fields:
        signal: the signal whose entries these are.
        index: for each entry of the traced batch, 1 + its position in the flat batch of the signal; 0 marks a constant.
        zero: what the network computes here for the input 0; it has the shape of the view.
        wrapped: what this view is a padding of, circular or with zeros, if it is one.
        gap: bound of the difference between a constant among the entries and the same constant in float32.
    """

    signal: Signal
    index: Tensor
    zero: Tensor
    wrapped: Wrapped | None = None
    gap: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in the traced batch."""
        return tuple(self.zero.shape)

    @property
    def size(self) -> int:
        """Entries of one sample."""
        return self.zero.numel() // BATCH

    @property
    def lead(self) -> int:
        """Positions of one sample that are merged into the leading axis."""
        return self.shape[0] // BATCH

    @cached_property
    def flat_index(self) -> Tensor:
        """1 + position in one sample of the signal, for each entry of one sample; 0 is a constant."""
        return self.index.reshape(BATCH, -1)[0]

    @cached_property
    def whole(self) -> bool:
        """Whether this is the signal itself, entry by entry."""
        return self.size == self.signal.size and torch.equal(self.flat_index, torch.arange(1, self.size + 1))

    @cached_property
    def copies(self) -> int:
        """The largest number of copies of one entry."""
        counts = torch.bincount(self.flat_index, minlength=1)[1:]
        return int(counts.max()) if counts.numel() else 0

    @cached_property
    def norm(self) -> float:
        """Norm of the selection: √(largest number of copies of one entry)."""
        return 1.0 if self.copies == 1 else round_up(math.sqrt(self.copies))

    @property
    def lipschitz(self) -> float:
        """Upper bound with respect to the network's input."""
        return round_up(self.norm * self.signal.lipschitz) if self.norm != 1.0 else self.signal.lipschitz

    def error(self, arithmetic: str) -> Growth:
        """Upper bound of the error here; copying is exact, but a constant may be another number."""
        copied = self.signal.error(arithmetic).scale(self.norm)
        return copied + self.constant_error if arithmetic == "float32" else copied

    @cached_property
    def constants(self) -> float:
        """Upper bound of the norm of the constants among the entries of one sample."""
        return vector_norm_upper(self.zero.reshape(BATCH, -1)[0][self.flat_index == 0])

    @cached_property
    def constant_error(self) -> Growth:
        """Of the constants among the entries, in float32."""
        constants = int((self.flat_index == 0).sum()) if self.gap else 0
        return Growth(0.0, round_up(self.gap * math.sqrt(constants), 2)) if constants else NOTHING

    def magnitude(self, arithmetic: str) -> Growth:
        """Upper bound of the norm of the *computed* vector."""
        exact = Growth(round_up(self.signal.reach * self.norm), vector_norm_upper(self.zero[: self.lead]))
        error = self.signal.rough_error("float64") + self.signal.rough_error(arithmetic)
        total = exact + error.scale(self.norm)
        return total + self.constant_error if arithmetic == "float32" else total

    def take(self, x: Tensor) -> Tensor:
        """(K, signal size) -> (K, view size), without constants."""
        if self.whole:
            return x
        padded = torch.cat((x.new_zeros(x.shape[0], 1), x), dim=1)
        return padded[:, self.flat_index]

    def same_as(self, other: View) -> bool:
        """Whether two views hold the same entries in the same order."""
        return self is other or (
            self.signal is other.signal and self.shape == other.shape and torch.equal(self.index, other.index)
        )


class Wrapped(NamedTuple):
    """A padding that is circular, or of zeros: of which view, and the entries (before, after) on the last axes."""

    view: View
    pads: tuple[tuple[int, int], ...]
    zeros: bool = False


class Chain(NamedTuple):
    """What is known of the linear map from a signal's source to the signal: A_p … A_1, and a constant.

    Fields:
        terms: roundings in an entry of the result.
        absolute: upper bound of ‖|A_p| … |A_1|‖, which rounding errors grow with.
        offset: upper bound of the norm of the constant.
        slack: how far the deployed map is off, by the norm of the source.
    """

    terms: int
    absolute: float
    offset: float
    slack: Slack = EXACT


@dataclass(eq=False)
class Signal(ABC):
    """The result of one operation.

    Fields:
        name: path of the module that computes it.
        zero: what the network computes here for the input 0; it has the shape of the traced batch.
        inputs: the views that it is computed from.
        order: the number of the signal; signals are numbered as they are computed.
    """

    name: str
    zero: Tensor
    inputs: tuple[View, ...]
    order: int = field(init=False, default_factory=lambda: next(_order))
    _errors: dict[str, Growth] = field(init=False, default_factory=dict)

    @property
    @abstractmethod
    def operation(self) -> str:
        """What it does, for the table."""

    @property
    @abstractmethod
    def lipschitz(self) -> float:
        """Upper bound of the Lipschitz constant with respect to the network's input."""

    @abstractmethod
    def _error(self, arithmetic: str) -> Growth: ...

    def error(self, arithmetic: str) -> Growth:
        """Upper bound of the norm of the rounding error of this signal."""
        if arithmetic not in self._errors:
            self._errors[arithmetic] = self._error(arithmetic)
        return self._errors[arithmetic]

    @cached_property
    def size(self) -> int:
        """Entries of one sample."""
        return self.zero.numel() // BATCH

    @property
    def whole(self) -> View:
        """The view of all of it, in order."""
        shape = self.zero.shape
        return View(self, torch.arange(1, math.prod(shape) + 1).reshape(shape), self.zero)

    @property
    def reach(self) -> float:
        """A bound of the Lipschitz constant that costs nothing more than what is known."""
        return self.lipschitz

    def rough_error(self, arithmetic: str) -> Growth:
        """A bound of the rounding error that needs no norm that is not known; enough for second-order terms."""
        return self.error(arithmetic)

    @property
    def source(self) -> Signal:
        """The nearest signal before this one, itself included, that is not linear in one signal."""
        return self

    def from_source(self, x: Tensor, start: Signal | None = None) -> Tensor:
        """The linear map from the source, or a signal after it, to here, (K, source size) -> (K, size)."""
        return x

    def chain_error(self, start: Signal | None = None) -> Chain:
        """What rounding does to that map."""
        return Chain(0, 1.0, 0.0)

    @property
    def row(self) -> Row:
        """The row of the table that this signal stands for."""
        return Row(self.name, self.operation, self.lipschitz, self.inputs)


class Block(NamedTuple):
    """Several operations as one function: the view that they start from, and a bound of the constant from there."""

    skip: View
    slope: float

    @property
    def lipschitz(self) -> float:
        """Upper bound with respect to the network's input."""
        return round_up(self.skip.lipschitz * self.slope)


class Row(NamedTuple):
    """What the table of layers says of a signal.

    Fields:
        name: of the module; several that were joined are joined by `+`.
        operation: what was done.
        bound: of the constant of the operation alone; of the network up to here where there is none.
        inputs: what the operation was given.
    """

    name: str
    operation: str
    bound: float
    inputs: tuple[View, ...]


@dataclass(eq=False)
class Input(Signal):
    """The input of the network."""

    operation = "input"
    lipschitz = 1.0

    def _error(self, arithmetic: str) -> Growth:
        return NOTHING

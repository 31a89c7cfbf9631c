"""The abstract values of the audit: what a network computes, as signals that depend on each other.

A `Signal` is the result of one operation; a `View` is a copy of some of its entries (slices, reshapes, permutations,
padding, concatenations of parts), known by index, so that parts which are taken apart and joined again cost nothing.
Each signal knows an upper bound of its Lipschitz constant with respect to the network's input, and of the rounding
error of its computation (docs/design/0004-soundness.md §1 and §5).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from robench.lipschitz.norms.linear import LinearOp
from robench.lipschitz.norms.rounding import (
    EXACT,
    NOTHING,
    SMALLEST,
    UNITS,
    Growth,
    Slack,
    linear_underflow,
    rounding,
    vector_norm_upper,
)
from robench.lipschitz.norms.spectral import spectral_norm_upper
from robench.lipschitz.trace.joint import joint_lipschitz
from robench.numerics import gamma, round_up

BATCH = 2
"""Samples in the batch that a network is traced with; what mixes them is refused."""
DENSE_SIDE, DENSE_ENTRIES = 800, 16_000_000
"""Linear maps up to this many inputs or outputs, and entries, are bounded as one matrix."""

_order = itertools.count()


@dataclass(eq=False)
class View:
    """Entries of a signal in a new order.

    Fields:
        signal: where they come from.
        index: for each entry of the traced batch, 1 + its position in the flat batch of the signal; 0 is a constant.
        zero: what the network computes here for the input 0, same shape.
        closed: the view that this one is a circular padding of, and the (before, after) of each spatial axis.
        gap: how far a constant among the entries is, in the deployed float32 network, from the one here, at most.
    """

    signal: Signal
    index: Tensor
    zero: Tensor
    closed: tuple[View, tuple[tuple[int, int], ...]] | None = None
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


class Chain(NamedTuple):
    """The linear map from a signal's source: terms of a sum, norm of the product of |A|, norm of what it adds.

    `slack` is how far the deployed map is off, by the norm of the source.
    """

    terms: int
    absolute: float
    offset: float
    slack: Slack = EXACT


@dataclass(eq=False)
class Signal:
    """The result of one operation.

    Fields:
        name: path of the module that computes it.
        operation: what it is, for the table.
        size: entries of one sample.
        inputs: what it is computed from.
        op: the linear operation, for a linear signal (one input).
        slope: Lipschitz constant of the operation on its inputs taken jointly, for a nonlinear one.
        weights: factors of a sum of the inputs, for a sum.
        offset: norm of what a linear operation adds (bias).
        terms: operations that an entry of a nonlinear result takes.
        absolute_error: error of the definition itself, such as a threshold behind which a function is replaced.
        entrywise: entry k is a function, of constant `slope`, of entry k of the inputs put one after the other.
        slack: what other constants and underflow add to the error.
        bypass: a view, and a bound of the constant of a sum as a function of that view alone.
    """

    name: str
    operation: str
    size: int
    inputs: tuple[View, ...] = ()
    op: LinearOp | None = None
    slope: float = 1.0
    weights: tuple[float, ...] | None = None
    offset: float = 0.0
    terms: int = 0
    absolute_error: float = 0.0
    entrywise: bool = False
    slack: Slack = EXACT
    bypass: tuple[View, float] | None = None
    order: int = field(default_factory=lambda: next(_order))

    def __post_init__(self) -> None:
        """Join a linear operation with the ones before it, where that is cheap."""
        self._errors: dict[str, Growth] = {}
        self.zero: Tensor | None = None
        self.shift: Tensor | None = None
        """What a linear operation adds, entry by entry, where it is known."""
        self.twin: Signal | None = None
        """For relu(−v): the signal relu(v)."""
        self.root: View | None = None
        self.joined: LinearOp | None = None
        self.segment: tuple[Signal, ...] = (self,)
        if self.op is None:
            return
        self.root, self.joined = self.inputs[0], self.op
        before = self.root.signal
        if before.joined is not None and self.root.whole:
            merged = self.op.after(before.joined)
            if merged is not None:
                self.root, self.joined = before.root, merged
                self.segment = (*before.segment, self)

    @property
    def whole(self) -> View:
        """The view of all of it, in order."""
        assert self.zero is not None
        return whole_view(self, self.zero)

    @property
    def linear(self) -> bool:
        """Whether this is a linear operation on one signal."""
        return self.op is not None

    @cached_property
    def lipschitz(self) -> float:
        """Upper bound of the Lipschitz constant with respect to the network's input."""
        if not self.inputs:
            return 1.0
        if self.joined is not None:
            assert self.root is not None
            bound = round_up(self.step_norm * self.root.lipschitz)
            dense = self.dense_norm
            return bound if dense is None else min(bound, round_up(dense * self.source.lipschitz))
        if self.weights is not None:
            parts = zip(self.weights, self.inputs, strict=True)
            bound = round_up(sum(abs(weight) * view.lipschitz for weight, view in parts), len(self.inputs) + 1)
            return bound if self.bypass is None else min(bound, round_up(self.bypass[0].lipschitz * self.bypass[1]))
        joint = joint_lipschitz(self.inputs)
        return joint if self.slope == 1.0 else round_up(self.slope * joint)

    @cached_property
    def step_norm(self) -> float:
        """Upper bound of the norm of the joined operations since the root; the joining rounds as well."""
        assert self.joined is not None
        if len(self.segment) == 1:
            return self.joined.norm
        absolute = math.prod(signal.op.absolute_norm for signal in self.segment if signal.op is not None)
        terms = sum(signal.op.terms + 8 for signal in self.segment if signal.op is not None)
        return round_up(self.joined.norm + gamma(terms) * absolute, 2)

    @cached_property
    def factor(self) -> float:
        """Upper bound of the constant of the operations that this signal stands for, on what they are given."""
        if self.joined is not None:
            dense = self.dense_norm if self.root is not None and self.source is self.root.signal else None
            return self.step_norm if dense is None else min(dense, self.step_norm)
        return self.slope if self.weights is None else math.nan

    @property
    def reach(self) -> float:
        """A bound of the Lipschitz constant that costs nothing more than what is known."""
        if self.op is None or "lipschitz" in self.__dict__:
            return self.lipschitz
        view = self.inputs[0]
        return round_up(self.op.absolute_norm * view.norm * view.signal.reach, 2)

    @cached_property
    def source(self) -> Signal:
        """The nearest signal before this one that is not linear in one signal."""
        return self.inputs[0].signal.source if self.op is not None else self

    def from_source(self, x: Tensor) -> Tensor:
        """The linear map from the source to here, (K, source size) -> (K, size)."""
        if self.op is None:
            return x
        view = self.inputs[0]
        return self.op.apply(view.take(view.signal.from_source(x)))

    def chain_error(self) -> Chain:
        """What rounding does to the map from the source."""
        if self.op is None:
            return Chain(0, 1.0, 0.0)
        view = self.inputs[0]
        before = view.signal.chain_error()
        grow = round_up(view.norm * self.op.absolute_norm, 2)
        return Chain(
            before.terms + self.op.terms + view.copies + 2,
            round_up(before.absolute * grow),
            round_up(before.offset * grow + view.constants * self.op.absolute_norm + self.offset, 4),
            self._chain_slack(before, grow),
        )

    def _chain_slack(self, before: Chain, grow: float) -> Slack:
        """(A + ΔA)(B + ΔB) − AB = A ΔB + ΔA (B + ΔB), offsets and constants of views included."""
        assert self.op is not None
        view, own = self.inputs[0], self.slack.constants
        off = before.slack.constants.scale(view.norm) + view.constant_error
        given = Growth(before.absolute, before.offset).scale(view.norm) + off
        given = given + Growth(0.0, view.constants)
        constants = off.scale(self.op.absolute_norm) + given.scale(own.slope) + Growth(0.0, own.offset)
        units, underflow = (
            earlier.scale(grow) + given.scale(here.slope) + Growth(0.0, here.offset)
            for earlier, here in ((before.slack.units, self.slack.units), (before.slack.underflow, self.underflow))
        )
        return Slack(constants, units, underflow)

    @cached_property
    def underflow(self) -> Growth:
        """In smallest normal numbers, by the norm of the computed input; also of an operation that rounds nothing."""
        entries = sum(view.size for view in self.inputs)
        if self.op is None:
            own = linear_underflow(self.terms, self.size, entries, self.slope, 0.0)
        else:
            own = linear_underflow(self.op.terms, self.size, entries, self.op.absolute_norm, self.offset)
        return own + self.slack.underflow

    @cached_property
    def dense_norm(self) -> float | None:
        """Upper bound of the norm of the whole linear map from the source, where that is a small matrix."""
        rows, columns = self.size, self.source.size
        simple = self.joined is self.op and self.source is self.inputs[0].signal and self.op is not None
        if simple and (self.op.operation == "dense" or self.op.operation == "scale"):  # type: ignore[union-attr]
            return None
        if min(rows, columns) > DENSE_SIDE or rows * columns > DENSE_ENTRIES:
            return None
        matrix, error = linear_matrix(View(self, _identity_index((BATCH, rows)), torch.zeros(BATCH, rows)))
        return round_up(spectral_norm_upper(matrix) + error)

    def error(self, arithmetic: str) -> Growth:
        """Upper bound of the norm of the rounding error of this signal."""
        if arithmetic not in self._errors:
            self._errors[arithmetic] = self._error(arithmetic)
        return self._errors[arithmetic]

    def _error(self, arithmetic: str) -> Growth:
        unit = UNITS[arithmetic]
        if not self.inputs:
            return Growth(0.0, 0.0)
        if self.op is not None:
            return self._linear_error(arithmetic, self.offset)
        if self.weights is not None:
            factor = rounding(len(self.inputs) + 1, unit)
            tiny = linear_underflow(len(self.inputs), self.size, self.size, max(map(abs, self.weights)), 0.0)
            total = Growth(0.0, tiny.offset).scale(SMALLEST[arithmetic])
            off = round_up(self.slack.of(arithmetic).slope + tiny.slope * SMALLEST[arithmetic])
            for weight, view in zip(self.weights, self.inputs, strict=True):
                total = total + view.error(arithmetic).scale(abs(weight))
                total = total + view.magnitude(arithmetic).scale(round_up(abs(weight) * factor + off, 2))
            return total
        before = Growth.joint([view.error(arithmetic) for view in self.inputs])
        size = Growth.joint([view.magnitude(arithmetic) for view in self.inputs])
        local = size.scale(self.slope) + Growth(0.0, self.offset)
        factor = rounding(self.terms, unit) if self.terms else 0.0
        total = before.scale(self.slope) + local.scale(factor) + Growth(0.0, self.absolute_error)
        slack = replace(self.slack, underflow=self.underflow).of(arithmetic)
        under_root = self.size * self.slack.under_root * SMALLEST[arithmetic]
        root = round_up(math.sqrt(under_root), 3) if under_root else 0.0
        return total + size.scale(slack.slope) + Growth(0.0, round_up(slack.offset + root))

    def _linear_error(self, arithmetic: str, offset: float) -> Growth:
        """Of a linear operation, joined with those before it, where its offset has this norm."""
        assert self.root is not None
        propagated = self.root.error(arithmetic).scale(self.step_norm)
        total = NOTHING
        for signal in self.segment:
            assert signal.op is not None
            added = signal.local_error(arithmetic, offset if signal is self else signal.offset)
            total = total.scale(signal.op.absolute_norm) + added
        return propagated + total

    def error_by_entry(self, arithmetic: str) -> tuple[Growth, Tensor] | None:
        """The error split in two: of the norm of a vector, and what rounding of the offset adds to each entry alone.

        None where it cannot be split.
        """
        if self.op is None or self.shift is None:
            return None
        own = self.shift.reshape(-1).abs() * round_up(rounding(self.op.terms, UNITS[arithmetic]), 2)
        return self._linear_error(arithmetic, 0.0), own

    def rough_error(self, arithmetic: str) -> Growth:
        """A bound of the rounding error that needs no norm that is not known; enough for second-order terms."""
        if self.op is None or arithmetic in self._errors:
            return self.error(arithmetic)
        view = self.inputs[0]
        before = view.signal.rough_error(arithmetic).scale(view.norm)
        return before.scale(self.op.absolute_norm) + self.local_error(arithmetic, self.offset)

    def local_error(self, arithmetic: str, offset: float) -> Growth:
        """Error that this linear operation adds to what it is given: γ_n (‖|A|‖·‖input‖ + ‖offset‖), and its slack."""
        assert self.op is not None
        given, factor = self.inputs[0].magnitude(arithmetic), rounding(self.op.terms, UNITS[arithmetic])
        total = (given.scale(self.op.absolute_norm) + Growth(0.0, offset)).scale(factor)
        slack = replace(self.slack, underflow=self.underflow).of(arithmetic).scale(1 + factor)
        return total + given.scale(slack.slope) + Growth(0.0, slack.offset)


def _identity_index(shape: tuple[int, ...]) -> Tensor:
    return torch.arange(1, math.prod(shape) + 1).reshape(shape)


def whole_view(signal: Signal, zero: Tensor) -> View:
    """The view of all of a signal, in order."""
    signal.zero = zero
    return View(signal, _identity_index(tuple(zero.shape)), zero)


def linear_matrix(view: View) -> tuple[Tensor, float]:
    """Matrix (view size, source size) of the linear map from the source of a view, and a bound of its error's norm."""
    signal = view.signal
    source = signal.source

    def forward(x: Tensor) -> Tensor:
        return view.take(signal.from_source(x))

    if source.size <= view.size:
        with torch.no_grad():
            matrix = forward(torch.eye(source.size, dtype=torch.float64)).T
    else:
        with torch.enable_grad():
            at = torch.zeros(view.size, source.size, dtype=torch.float64, requires_grad=True)
            # of a scalar: a gradient with `grad_outputs` imports sympy, a second of the process
            (matrix,) = torch.autograd.grad(forward(at).trace(), at)
    chain = signal.chain_error()
    return matrix.contiguous(), round_up(gamma(chain.terms + view.copies + 4) * chain.absolute * view.norm, 2)

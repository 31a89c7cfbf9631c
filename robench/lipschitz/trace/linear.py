"""Signals that are linear in one signal; operations that follow each other are bounded as one where that is cheap.

docs/design/0004-soundness.md §4 and §5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from robench.lipschitz.norms.banded import padded_norm_upper
from robench.lipschitz.norms.joining import join
from robench.lipschitz.norms.linear import LinearOp
from robench.lipschitz.norms.rounding import EXACT, NOTHING, UNITS, Growth, Slack, linear_underflow, rounding
from robench.lipschitz.norms.spectral import spectral_norm_upper
from robench.lipschitz.norms.windows import Convolution
from robench.lipschitz.trace.signals import BATCH, Block, Chain, Row, Signal, View
from robench.numerics import gamma, round_up

DENSE_SIDE, DENSE_ENTRIES = 800, 16_000_000
"""Linear maps up to this many inputs or outputs, and entries, are bounded as one matrix."""


@dataclass(eq=False)
class Linear(Signal):
    """A linear operation on one view, plus a constant.

    Fields:
        op: the operation.
        offset: norm of the constant, at most.
        shift: the constant, entry by entry, where it is known.
        slack: what other constants and underflow add to the error.
        block: the operations that end here, bounded as one function.
        root: the view that the joined operations start from.
        joined: this operation, and those before it back to the root, as one.
        segment: their signals, this one last.
    """

    op: LinearOp
    offset: float = 0.0
    shift: Tensor | None = None
    slack: Slack = EXACT
    block: Block | None = None
    root: View = field(init=False)
    joined: LinearOp = field(init=False)
    segment: tuple[Linear, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Join the operation with the ones before it, where that is cheap."""
        self.root, self.joined, self.segment = self.view, self.op, (self,)
        before = self.view.signal
        if isinstance(before, Linear) and self.view.whole:
            merged = join(self.op, before.joined)
            if merged is not None:
                self.root, self.joined, self.segment = before.root, merged, (*before.segment, self)

    @property
    def view(self) -> View:
        """What the operation is given."""
        return self.inputs[0]

    @property
    def operation(self) -> str:
        """What it does, for the table."""
        return self.op.operation

    @cached_property
    def source(self) -> Signal:
        """The nearest signal before this one that is not linear in one signal."""
        return self.view.signal.source

    def from_source(self, x: Tensor, start: Signal | None = None) -> Tensor:
        """The linear map from the source, or a signal after it, to here, (K, source size) -> (K, size)."""
        return x if self is start else self.op.apply(self.view.take(self.view.signal.from_source(x, start)))

    @cached_property
    def lipschitz(self) -> float:
        """Upper bound with respect to the network's input."""
        bound = round_up(self.step_norm * self.root.lipschitz)
        if self.dense_norm is not None:
            bound = min(bound, round_up(self.dense_norm * self.source.lipschitz))
        elif self.padded_norm is not None:
            bound = min(bound, round_up(self.padded_norm * self.root.signal.lipschitz))
        if any(signal.block is not None for signal in self.segment[:-1]):  # which the joined operations hide
            bound = min(bound, round_up(self.op.norm * self.view.lipschitz))
        return bound if self.block is None else min(bound, self.block.lipschitz)

    @cached_property
    def step_norm(self) -> float:
        """Upper bound of the norm of the joined operations since the root; the joining rounds as well."""
        if self.root.whole and self.source is self.root.signal and self.dense_norm is not None:
            return self.dense_norm  # of the same map, exactly
        if len(self.segment) == 1:
            return self.joined.norm
        absolute = math.prod(signal.op.absolute_norm for signal in self.segment)
        terms = sum(signal.op.terms + 8 for signal in self.segment)
        return round_up(self.joined.norm + gamma(terms) * absolute, 2)

    @cached_property
    def dense_norm(self) -> float | None:
        """Upper bound of the norm of the whole linear map from the source, where that is a small matrix."""
        rows, columns = self.size, self.source.size
        alone = self.joined is self.op and self.source is self.view.signal
        if alone and self.op.operation in ("dense", "scale"):
            return None
        if min(rows, columns) > DENSE_SIDE or rows * columns > DENSE_ENTRIES:
            return None
        matrix, error = linear_matrix(self.whole)
        return round_up(spectral_norm_upper(matrix) + error)

    @cached_property
    def padded_norm(self) -> float | None:
        """Upper bound of the norm of the joined operations, if they are a convolution of an image padded by its pixels.

        From the image to here; the product of norms takes as many copies everywhere as there are of a pixel at most.
        """
        view, joined = self.root, self.joined
        shape = view.signal.zero.shape
        if not isinstance(joined, Convolution) or joined.lead != 1 or view.copies < 2 or len(shape) < 3:
            return None
        groups, _, inner = joined.kernel.shape[:3]
        if (shape[0], shape[1], len(shape)) != (BATCH, groups * inner, joined.kernel.dim() - 1):
            return None
        norm = padded_norm_upper(joined.kernel, joined.geometry, joined.padding, view.flat_index, tuple(shape[2:]))
        terms = sum(signal.op.terms + 8 for signal in self.segment) + view.copies
        absolute = math.prod(signal.op.absolute_norm for signal in self.segment) * view.norm
        return round_up(norm + gamma(terms) * absolute, 4)

    @property
    def row(self) -> Row:
        """The row of the table: the joined operations."""
        dense = self.dense_norm if self.source is self.root.signal else None
        bound = self.step_norm if dense is None else min(dense, self.step_norm)
        names = dict.fromkeys(signal.name for signal in self.segment)
        return Row("+".join(names), self.joined.operation, bound, (self.root,))

    @property
    def reach(self) -> float:
        """A bound of the Lipschitz constant that costs nothing more than what is known."""
        if "lipschitz" in self.__dict__:
            return self.lipschitz
        return round_up(self.op.absolute_norm * self.view.norm * self.view.signal.reach, 2)

    def _error(self, arithmetic: str) -> Growth:
        return self._error_with_offset(arithmetic, self.offset)

    def _error_with_offset(self, arithmetic: str, offset: float) -> Growth:
        """Of this operation, joined with those before it, where its constant has this norm."""
        propagated = self.root.error(arithmetic).scale(self.step_norm)
        total = NOTHING
        for signal in self.segment:
            added = signal.local_error(arithmetic, offset if signal is self else signal.offset)
            total = total.scale(signal.op.absolute_norm) + added
        return propagated + total

    def error_by_entry(self, arithmetic: str) -> tuple[Growth, Tensor] | None:
        """The error split in two: of the norm of a vector, and what rounding of the constant adds to each entry alone.

        None where it cannot be split.
        """
        if self.shift is None:
            return None
        own = self.shift.reshape(-1).abs() * round_up(rounding(self.op.terms, UNITS[arithmetic]), 2)
        return self._error_with_offset(arithmetic, 0.0), own

    def rough_error(self, arithmetic: str) -> Growth:
        """A bound of the rounding error that needs no norm that is not known; enough for second-order terms."""
        if arithmetic in self._errors:
            return self.error(arithmetic)
        before = self.view.signal.rough_error(arithmetic).scale(self.view.norm)
        return before.scale(self.op.absolute_norm) + self.local_error(arithmetic, self.offset)

    def local_error(self, arithmetic: str, offset: float) -> Growth:
        """Error that this operation adds to what it is given: γ_n (‖|A|‖·‖input‖ + ‖offset‖), and its slack."""
        given, factor = self.view.magnitude(arithmetic), rounding(self.op.terms, UNITS[arithmetic])
        total = (given.scale(self.op.absolute_norm) + Growth(0.0, offset)).scale(factor)
        slack = replace(self.slack, underflow=self.underflow).of(arithmetic).scale(1 + factor)
        return total + given.scale(slack.slope) + Growth(0.0, slack.offset)

    @cached_property
    def underflow(self) -> Growth:
        """In smallest normal numbers, by the norm of the computed input; also of an operation that rounds nothing."""
        own = linear_underflow(self.op.terms, self.size, self.view.size, self.op.absolute_norm, self.offset)
        return own + self.slack.underflow

    def chain_error(self, start: Signal | None = None) -> Chain:
        """What rounding does to that map."""
        if self is start:
            return Chain(0, 1.0, 0.0)
        before = self.view.signal.chain_error(start)
        grow = round_up(self.view.norm * self.op.absolute_norm, 2)
        return Chain(
            before.terms + self.op.terms + self.view.copies + 2,
            round_up(before.absolute * grow),
            round_up(before.offset * grow + self.view.constants * self.op.absolute_norm + self.offset, 4),
            self._chain_slack(before, grow),
        )

    def _chain_slack(self, before: Chain, grow: float) -> Slack:
        """(A + ΔA)(B + ΔB) − AB = A ΔB + ΔA (B + ΔB), offsets and constants of views included."""
        view, own = self.view, self.slack.constants
        off = before.slack.constants.scale(view.norm) + view.constant_error
        given = Growth(before.absolute, before.offset).scale(view.norm) + off
        given = given + Growth(0.0, view.constants)
        constants = off.scale(self.op.absolute_norm) + given.scale(own.slope) + Growth(0.0, own.offset)
        units, underflow = (
            earlier.scale(grow) + given.scale(here.slope) + Growth(0.0, here.offset)
            for earlier, here in ((before.slack.units, self.slack.units), (before.slack.underflow, self.underflow))
        )
        return Slack(constants, units, underflow)


def linear_matrix(view: View, start: Signal | None = None) -> tuple[Tensor, float]:
    """Matrix (view size, source size) of the linear map from the source of a view, and a bound of its error's norm.

    Args:
        view: where the map ends.
        start: a signal after the source to start from.
    """
    signal = view.signal
    source = signal.source if start is None else start

    def forward(x: Tensor) -> Tensor:
        return view.take(signal.from_source(x, start))

    if source.size <= view.size:
        with torch.no_grad():
            matrix = forward(torch.eye(source.size, dtype=torch.float64)).T
    else:
        with torch.enable_grad():
            at = torch.zeros(view.size, source.size, dtype=torch.float64, requires_grad=True)
            # of a scalar: a gradient with `grad_outputs` imports sympy, a second of the process
            (matrix,) = torch.autograd.grad(forward(at).trace(), at)
    chain = signal.chain_error(start)
    return matrix.contiguous(), round_up(gamma(chain.terms + view.copies + 4) * chain.absolute * view.norm, 2)

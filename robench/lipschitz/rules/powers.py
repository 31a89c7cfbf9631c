"""Sums that are a polynomial of one convolution, such as the truncated exponential of a skew convolution."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from robench.lipschitz.norms.linear import Diagonal
from robench.lipschitz.norms.powers import off_symmetric, polynomial_norm_upper
from robench.lipschitz.norms.windows import Convolution
from robench.lipschitz.trace.linear import Linear
from robench.lipschitz.trace.signals import View
from robench.lipschitz.trace.trace import Trace

NEARLY = 1e-3
"""Largest ‖A ∓ Aᵀ‖, relative to ‖A‖, of a convolution that is taken for skew or symmetric."""


@dataclass(frozen=True)
class Polynomial:
    """The linear part of a signal: Σ c_k Aᵏ of a view.

    Fields:
        base: the view.
        op: the convolution A; None for a multiple of the view itself.
        coefficients: c_0, c_1, …
    """

    base: View
    op: Convolution | None
    coefficients: tuple[float, ...]

    def plus(self, other: Polynomial) -> Polynomial | None:
        """The sum, if it is one polynomial."""
        if not self.base.same_as(other.base):
            return None
        op = self.op or other.op
        if self.op is not None and other.op is not None and not _same_map(self.op, other.op):
            return None
        count = max(len(self.coefficients), len(other.coefficients))
        sides = [(*each.coefficients, *(0.0,) * (count - len(each.coefficients))) for each in (self, other)]
        return Polynomial(self.base, op, tuple(a + b for a, b in zip(*sides, strict=True)))

    def times(self, factor: float) -> Polynomial:
        """A multiple."""
        return replace(self, coefficients=tuple(factor * c for c in self.coefficients))

    @property
    def slope(self) -> float | None:
        """An upper bound of the norm; None where A is neither skew nor symmetric."""
        if self.op is None:
            return None
        off, sign = min((off_symmetric(self.op, sign), sign) for sign in (-1, 1))
        if off > NEARLY * self.op.norm:
            return None
        return polynomial_norm_upper(self.coefficients, self.op.norm, off, sign)


def polynomial_sum(trace: Trace, left: View, right: View, weights: tuple[float, float]) -> Polynomial | None:
    """The polynomial that a weighted sum is, of degree 1 at least.

    Args:
        trace: the walk, which remembers the polynomials of sums.
        left: one side.
        right: the other.
        weights: of the two.
    """
    for base in (left, right):
        sides = [_of(trace, view, base) for view in (left, right)]
        if sides[0] is None or sides[1] is None:
            sides = [_of(trace, view, None) for view in (left, right)]
        if sides[0] is not None and sides[1] is not None:
            total = sides[0].times(weights[0]).plus(sides[1].times(weights[1]))
            if total is not None and total.op is not None:
                return total
    return None


def _of(trace: Trace, view: View, base: View | None) -> Polynomial | None:
    """The polynomial of a view: from this base, or from where its own convolution starts."""
    if base is not None and view.same_as(base):
        return Polynomial(base, None, (1.0,))
    signal = view.signal
    if not view.whole or view.shape != tuple(signal.zero.shape) or not isinstance(signal, Linear):
        return None
    known = trace.polynomials.get(signal.order)
    if known is not None:
        return known if base is None or known.base.same_as(base) else None
    if isinstance(signal.op, Diagonal) and signal.op.factors.numel() == 1:
        before = _of(trace, signal.view, base)
        return None if before is None else before.times(float(signal.op.factors))
    if not isinstance(signal.op, Convolution):
        return None
    before = _of(trace, signal.view, base)
    if before is not None and (before.op is None or _same_map(before.op, signal.op)):
        return Polynomial(before.base, before.op or signal.op, (0.0, *before.coefficients))
    return Polynomial(signal.view, signal.op, (0.0, 1.0)) if base is None else None


def _same_map(first: Convolution, second: Convolution) -> bool:
    """Whether two convolutions are the same map."""
    if first is second:
        return True
    own, other = ((op.geometry, op.padding, op.lead, op.output_size) for op in (first, second))
    return own == other and torch.equal(first.kernel, second.kernel)

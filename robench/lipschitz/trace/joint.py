"""The constant of several views taken jointly: parts of one signal cost less than the root of the sum of squares.

Σ_k ‖δ view_k‖² is a weighted sum Σ w_e (δ s_e)² over the entries e of some signals s. The latest signal is replaced by
what it is computed from until one signal is left (docs/design/0004-soundness.md §1). Each signal is replaced once, with
the weights of all of its parts added up, so that the work grows with the number of signals and not with that of paths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from robench.lipschitz.norms.linear import Diagonal
from robench.lipschitz.trace.linear import Linear
from robench.lipschitz.trace.nonlinear import Nonlinear
from robench.lipschitz.trace.signals import Signal, View
from robench.numerics import gamma, round_up

EXACT = 2.0**26
"""Whole numbers below this have products and sums that round nothing."""


class Weighted(NamedTuple):
    """A signal and a weight ≥ 0 for each entry of one sample; position 0 is that of constants."""

    signal: Signal
    weights: Tensor

    @property
    def largest(self) -> float:
        """The largest weight."""
        return float(self.weights[1:].max()) if self.signal.size else 0.0

    @property
    def constant(self) -> float:
        """Upper bound of √(Σ w_e (δ s_e)²) for a step of length 1 of the network's input."""
        largest = self.largest
        return self.signal.lipschitz if largest == 1.0 else round_up(math.sqrt(largest) * self.signal.lipschitz, 2)


def joint_lipschitz(views: Sequence[View]) -> float:
    """Upper bound of the constant of several views taken jointly (their concatenation)."""
    if len(views) == 1:
        return views[0].lipschitz
    pending: dict[int, Weighted] = {}
    for view in views:
        _add(pending, view, torch.ones(view.size, dtype=torch.float64))
    separate = round_up(math.hypot(*(part.constant for part in pending.values())), 3)
    while len(pending) > 1:
        latest = pending.pop(max(pending))
        if not isinstance(latest.signal, Linear | Nonlinear):  # a sum is in the way, or the input
            return separate
        for view, weights in _before(_with_positive(pending, latest)):
            _add(pending, view, weights)
    return min(separate, next(iter(pending.values())).constant)


def _add(pending: dict[int, Weighted], view: View, weights: Tensor) -> None:
    """Count the entries of a view, each with its weight, for the signal that they are entries of."""
    signal = view.signal
    before = pending.get(signal.order)
    total = torch.zeros(signal.size + 1, dtype=torch.float64) if before is None else before.weights
    added = total.index_add(0, view.flat_index, weights)
    if not _exact(total, weights):
        added *= 1 + gamma(view.copies + 4)
    pending[signal.order] = Weighted(signal, added)


def _with_positive(pending: dict[int, Weighted], latest: Weighted) -> Weighted:
    """relu(v) for relu(−v) with weight a, and relu(v) with weight b: together they cost max(a, b), entry by entry.

    For a |δ relu(−v)|² + b |δ relu(v)|² ≤ max(a, b) |δv|², which is what relu(v) alone is taken to cost as well.
    """
    positive = latest.signal.function.positive if isinstance(latest.signal, Nonlinear) else None
    if positive is None or positive.order not in pending:
        return latest
    return Weighted(positive, torch.maximum(latest.weights, pending.pop(positive.order).weights))


def _before(part: Weighted) -> list[tuple[View, Tensor]]:
    """What a signal is computed from, with weights for which the sum is no smaller."""
    signal, weights = part.signal, part.weights[1:]
    match signal:
        case Nonlinear() if signal.function.entrywise:
            scaled = _times(weights, torch.full((), signal.function.slope, dtype=torch.float64).square())
            return list(zip(signal.inputs, torch.split(scaled, [view.size for view in signal.inputs]), strict=True))
        case Nonlinear():
            return [(view, _uniform(view, part.largest, signal.function.slope)) for view in signal.inputs]
        case Linear(joined=Diagonal(factors=factors)):
            joined = 1.0 if len(signal.segment) == 1 else 1 + gamma(4 * len(signal.segment))
            return [(signal.root, _times(weights, (factors * joined).square()))]
        case Linear():
            return [(signal.root, _uniform(signal.root, part.largest, signal.step_norm))]
    raise TypeError(f"{type(signal).__name__} is not computed from one view")


def _uniform(view: View, weight: float, constant: float) -> Tensor:
    whole = weight if constant == 1.0 else round_up(weight * constant * constant, 3)
    return torch.full((view.size,), whole, dtype=torch.float64)


def _times(weights: Tensor, factors: Tensor) -> Tensor:
    product = weights * factors
    return product if _exact(weights, factors) else product * (1 + gamma(4))


def _exact(*tensors: Tensor) -> bool:
    return all(bool(((tensor == tensor.round()) & (tensor < EXACT)).all()) for tensor in tensors)

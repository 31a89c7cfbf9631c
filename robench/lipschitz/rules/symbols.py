"""Maps between images as one matrix a frequency, the factors around them, and blocks of them bounded as a whole.

docs/design/0015-residual-blocks.md §3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from robench.lipschitz.norms.linear import Diagonal
from robench.lipschitz.norms.multipliers import UNIT, block_slope_upper, stacked_size
from robench.lipschitz.trace.linear import Linear
from robench.lipschitz.trace.signals import Signal, View
from robench.numerics import round_up


class Symbols(NamedTuple):
    """A map between images that commutes with circular shifts: one matrix a frequency, of one of w and −w.

    Fields:
        matrices: (f, out, in), complex.
        error: how far the map that they make is off, its norm.
    """

    matrices: Tensor
    error: float

    @property
    def size(self) -> float:
        """An upper bound of the norm of the exact map."""
        return round_up(stacked_size(self.matrices) + self.error)

    def scaled_rows(self, factors: Tensor) -> Symbols:
        """A factor for each output channel."""
        return self._times(self.matrices * factors[:, None], factors)

    def scaled_columns(self, factors: Tensor) -> Symbols:
        """A factor for each input channel."""
        return self._times(self.matrices * factors, factors)

    def weighted(self, weight: float) -> Symbols:
        """A factor for the whole map."""
        error = abs(weight) * (self.error + 4 * UNIT * stacked_size(self.matrices))
        return Symbols(weight * self.matrices, round_up(error, 4))

    def _times(self, matrices: Tensor, factors: Tensor) -> Symbols:
        largest = float(factors.abs().max())
        return Symbols(matrices, round_up(largest * self.error + 64 * UNIT * stacked_size(matrices), 4))


def block_upper(
    skip: Symbols | None, outer: Symbols, inner: Symbols, slopes: tuple[float, float], multipliers: Tensor
) -> float:
    """An upper bound of the constant of P x + V φ(A x + b), the errors of the matrices included.

    Args:
        skip: P; None for 0.
        outer: V.
        inner: A.
        slopes: least and largest of φ.
        multipliers: of the units of a frequency, up to a factor.
    """
    lowest, largest = (torch.full((inner.matrices.shape[1],), slope, dtype=torch.float64) for slope in slopes)
    nothing = inner.matrices.new_zeros(len(inner.matrices), outer.matrices.shape[1], inner.matrices.shape[2])
    plain = Symbols(nothing, 0.0) if skip is None else skip
    errors = plain.error + max(map(abs, slopes)) * (outer.error * inner.size + outer.size * inner.error)
    bound = block_slope_upper(plain.matrices, outer.matrices, inner.matrices, lowest, largest, multipliers)
    return round_up(bound + errors, 8)


def factors_up_to(view: View) -> tuple[list[Diagonal], Signal | None]:
    """The factors that lead to a view, and what they start from; None where entries are moved between."""
    found: list[Diagonal] = []
    while view.whole:
        signal = view.signal
        if not isinstance(signal, Linear) or not isinstance(signal.op, Diagonal):
            return found, signal
        found.append(signal.op)
        view = signal.view
    return found, None


def channel_factors(ops: Sequence[Diagonal], channels: int) -> Tensor | None:
    """The product of factors for each channel, with its sign; None where it differs within one."""
    product = torch.ones(channels, dtype=torch.float64)
    for op in ops:
        factors = op.by_channel(1, channels)
        if factors is None:
            return None
        product = product * factors
    return product

"""Residual blocks x − V φ(A x + b) whose V is near Aᵀ D, D ≥ 0 diagonal: a bound of the block as a whole.

docs/design/0004-soundness.md §9.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robench.lipschitz.norms.rounding import vector_norm_upper
from robench.lipschitz.norms.spectral import spectral_norm_upper
from robench.lipschitz.trace.linear import DENSE_ENTRIES, DENSE_SIDE, linear_matrix
from robench.lipschitz.trace.nonlinear import Nonlinear
from robench.lipschitz.trace.signals import View
from robench.numerics import round_up

RISING = frozenset(("relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max", "tanh", "sigmoid", "atan", "asinh"))
"""Functions of one entry that never fall and never rise faster than the identity."""
UNIT = 2.0**-53


def residual_slope(skip: View, branch: View, weights: tuple[float, float]) -> float | None:
    """An upper bound of the Lipschitz constant of `weights[0]`·skip + `weights[1]`·branch as a function of the skip.

    Args:
        skip: x, a whole signal.
        branch: what is added to it.
        weights: factors of the two; the first must be 1.

    Returns:
        None if the sum is no residual block of this kind, or a large one.
    """
    bend = branch.signal.source
    if weights[0] != 1.0 or not isinstance(bend, Nonlinear) or bend.operation not in RISING:
        return None
    if not bend.function.entrywise or len(bend.inputs) != 1:
        return None
    before = bend.inputs[0]
    if not skip.whole or before.signal.source is not skip.signal:
        return None
    if min(bend.size, skip.size) > DENSE_SIDE or bend.size * skip.size > DENSE_ENTRIES:
        return None
    inner, inner_error = linear_matrix(before)
    outer, outer_error = linear_matrix(branch)
    factor = abs(weights[1])
    return _bound(inner, inner_error, -weights[1] * outer, factor * outer_error + 2 * UNIT * factor * _size(outer))


def _bound(inner: Tensor, inner_error: float, outer: Tensor, outer_error: float) -> float | None:
    """max(1, ‖D^½ A‖² − 1) for the best D, and what is left of V − Aᵀ D, all errors included; None if much is left."""
    lengths = inner.square().sum(dim=1)
    weights = (outer.T * inner).sum(dim=1) / lengths.clamp_min(torch.finfo(torch.float64).tiny)
    roots = weights.clamp_min(0.0).sqrt()
    product = inner.T * roots.square()
    rest = _size(outer - product) + 8 * UNIT * (_size(outer) + _size(product)) + outer_error
    left = rest * _size(inner) + (_size(outer) + outer_error) * inner_error
    if not left < 1.0:
        return None
    scaled = roots[:, None] * inner
    gram = spectral_norm_upper(scaled) + 2 * UNIT * _size(scaled)
    return round_up(max(1.0, gram * gram - 1.0) + left, 16)


def _size(matrix: Tensor) -> float:
    """An upper bound of the spectral norm that costs nothing: Frobenius'."""
    return vector_norm_upper(matrix)

"""Proven upper bounds of spectral norms in float64: a computed eigenvalue proposes, a Cholesky factorisation proves.

The argument, with its sources, is in docs/design/0004-soundness.md §2.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float64, Inexact
from scipy.optimize import linprog
from torch import Tensor

from robench.numerics import binade, gamma, round_up

SLACK = 1e-11
"""Relative slack of the first value that is put to the Cholesky test."""
AT_ONCE = 1 << 22
"""Entries of the Gram matrices of a stack that are put to a test at once."""
ROUNDS = 8
"""Linear programs that are tried before the bound of the whole torus is taken."""


def spectral_norm_upper(matrix: Float64[Tensor, "m n"]) -> float:
    """An upper bound of the largest singular value of a real matrix, about 1e-11 above it."""
    rows = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    scale = float(rows.abs().max()) if rows.numel() else 0.0
    if scale == 0.0:
        return 0.0
    unit = binade(scale)  # nothing can overflow
    rows = rows / unit
    gram = (rows @ rows.T)[None]
    square = largest_eigenvalue_upper(gram, inner=rows.shape[1])
    return round_up(math.sqrt(square) * unit, 2)


def stacked_norm_upper(matrices: Inexact[Tensor, "f m n"]) -> float:
    """An upper bound of the largest singular value of all matrices of a stack, real or complex."""
    if not bool(matrices.any()):
        return 0.0
    unit, square = binade(float(matrices.abs().max())), 0.0  # nothing can overflow
    for part in torch.split(matrices / unit, max(1, AT_ONCE // max(1, min(matrices.shape[1:]) ** 2))):
        part = part.resolve_conj()
        gram = part @ part.mH if part.shape[1] <= part.shape[2] else part.mH @ part
        square = largest_eigenvalue_upper(gram, inner=max(part.shape[1:]), floor=square)
    return round_up(math.sqrt(square) * unit, 2)


def largest_eigenvalue_upper(gram: Inexact[Tensor, "f m m"], *, inner: int, floor: float = 0.0) -> float:
    """An upper bound of λ_max over a stack of exact Gram matrices of which `gram` are the computed ones.

    Args:
        gram: computed A Aᴴ, real or complex, Hermitian.
        inner: number of terms in the sums of A Aᴴ.
        floor: a bound that is already needed; matrices below it cost one factorisation and no eigenvalues.
    """
    if not bool(gram.any()):
        return floor
    value = floor or _largest_eigenvalue_estimate(gram) * (1 + SLACK)
    slack, left = SLACK, gram
    while True:
        failed = _not_below(left, torch.full(left.shape[:1], value, dtype=torch.float64))
        if not bool(failed.any()):
            break
        left = left[failed]  # the others are below every larger value as well
        value = max(value, _largest_eigenvalue_estimate(left)) * (1 + slack)
        slack *= 10
    return round_up(value + proof_error(gram, value, inner), 2)


def proof_error(gram: Inexact[Tensor, "f m m"], largest: float, inner: int) -> float:
    """What rounding can hide in a Cholesky test of value·I − gram ⪰ 0, for values up to `largest`.

    Rounding of the Gram matrix, of the subtraction, and the backward error of the factorisation.

    Args:
        gram: computed Gram matrices.
        largest: of the values.
        inner: number of terms in the sums of the Gram matrices.
    """
    size = gram.shape[-1]
    trace = float(torch.diagonal(gram, dim1=-2, dim2=-1).real.sum(-1).max())
    complexity = 4 if gram.is_complex() else 1
    product = gamma(complexity * (inner + 4)) * trace * 1.01
    backward = 2 * gamma(4 * complexity * (size + 2)) * size * (largest + product)
    return round_up(product + backward + 4 * largest * gamma(4), 4)


def _not_below(gram: Tensor, values: Tensor) -> Tensor:
    """Which of the matrices fail the Cholesky test of value·I − gram ⪰ 0."""
    shifted = gram.neg()
    torch.diagonal(shifted, dim1=-2, dim2=-1).add_(values[:, None])
    info: Tensor = torch.linalg.cholesky_ex(shifted).info
    return info != 0


def section_eigenvalue_upper(
    gram: Inexact[Tensor, "f m m"],
    cosines: Float64[Tensor, "f shifts"],
    limits: Float64[Tensor, " shifts"],
    *,
    inner: int,
) -> float:
    """An upper bound of λ_max of a section of the operator whose symbol is `gram`; never above that of the operator.

    For every trigonometric polynomial h(w) = a + Σ b_m 2 cos(m·w) with h(w)·I ⪰ gram(w) at all frequencies, the section
    is at most a + Σ |b_m| c_m, where c_m bounds the section of 2 cos(m·w). The b_m come from a linear program, the
    proof from Cholesky tests (docs/design/0004-soundness.md §3).

    Args:
        gram: at the frequencies of the torus, one of w and −w.
        cosines: 2 cos(m·w).
        limits: c_m.
        inner: number of terms in the sums of the Gram matrices.
    """
    if not bool(gram.any()):
        return 0.0
    values = _eigenvalue_estimates(gram)
    high = values >= 0.9 * values.max()
    if int(high.sum()) > max(4, len(values) // 3):  # nearly flat: the section has the norm of the whole
        return largest_eigenvalue_upper(gram, inner=inner)
    values[high] = torch.linalg.eigvalsh(gram[high])[:, -1]
    values[~high] *= 1.02  # what is not near the maximum need not be sharp
    known = high.clone()
    for _ in range(ROUNDS):
        constant, weights = _majorant(values * (1 + SLACK), cosines, limits)
        bound = constant + cosines @ weights
        failed = _not_below(gram, bound)
        if not bool(failed.any()):
            break
        values[failed] = torch.maximum(torch.linalg.eigvalsh(gram[failed])[:, -1], values[failed])
        values[failed & known] *= 1 + SLACK * 100
        known |= failed
    else:
        return largest_eigenvalue_upper(gram, inner=inner)
    height = abs(constant) + 2 * float(weights.abs().sum())
    section = constant + float(weights.abs() @ limits) + gamma(len(weights) + 8) * height
    return round_up(section + proof_error(gram, height, inner), 2)


def _majorant(values: Tensor, cosines: Tensor, limits: Tensor) -> tuple[float, Tensor]:
    """The cheapest h ≥ values: its constant and weights. The constant is raised to what the weights need."""
    scale = float(values.max())
    ones = np.ones((len(values), 1))
    table = cosines.numpy()
    solution = linprog(
        np.concatenate([[1.0], limits.numpy(), limits.numpy()]),
        A_ub=-np.concatenate([ones, table, -table], axis=1),
        b_ub=-values.numpy() / scale,
        bounds=[(None, None)] + [(0, None)] * (2 * table.shape[1]),
        method="highs",
    )
    count = table.shape[1]
    weights = torch.zeros(count, dtype=torch.float64)
    if solution.status == 0:
        weights = torch.from_numpy(solution.x[1 : 1 + count] - solution.x[1 + count :]) * scale
    return float((values - cosines @ weights).max()), weights


def _eigenvalue_estimates(gram: Tensor) -> Tensor:
    """About the largest eigenvalue of each of a stack of Hermitian matrices; lower bounds of them."""
    if gram.shape[-1] <= 48:
        exact: Tensor = torch.linalg.eigvalsh(gram)[:, -1]
        return exact.clamp_min(0.0)
    vector = torch.randn(gram.shape[-1], 1, dtype=gram.dtype, generator=torch.Generator().manual_seed(0))
    for _ in range(12):
        vector = gram @ vector
        vector = vector / torch.linalg.vector_norm(vector, dim=-2, keepdim=True).clamp_min(1e-300)
    norms: Tensor = torch.linalg.vector_norm(gram @ vector, dim=(-2, -1))
    return norms


def _largest_eigenvalue_estimate(gram: Tensor) -> float:
    """About the largest eigenvalue of a stack of Hermitian matrices; exact where the stack is small."""
    candidates = gram
    if gram.shape[0] > 4 and gram.shape[-1] > 16:
        candidates = gram[torch.topk(_eigenvalue_estimates(gram), 2).indices]
    return float(torch.linalg.eigvalsh(candidates)[:, -1].max())

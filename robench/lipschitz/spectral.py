"""Proven upper bounds of spectral norms in float64: a computed eigenvalue proposes, a Cholesky factorisation proves.

The argument, with its sources, is in docs/design/0004-soundness.md §2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robench.numerics import gamma, round_up

SLACK = 1e-11
"""Relative slack of the first value that is put to the Cholesky test."""


def spectral_norm_upper(matrix: Tensor) -> float:
    """An upper bound of the largest singular value of a real float64 matrix (m, n), about 1e-11 above it."""
    rows = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    scale = float(rows.abs().max()) if rows.numel() else 0.0
    if scale == 0.0:
        return 0.0
    exponent = 2.0 ** math.frexp(scale)[1]  # a power of two: the division is exact, so nothing can overflow
    rows = rows / exponent
    gram = (rows @ rows.T)[None]
    square = largest_eigenvalue_upper(gram, inner=rows.shape[1])
    return round_up(math.sqrt(square) * exponent, 2)


def largest_eigenvalue_upper(gram: Tensor, *, inner: int, floor: float = 0.0) -> float:
    """An upper bound of λ_max over a stack of exact Gram matrices of which `gram` (F, m, m) are the computed ones.

    Args:
        gram: computed A Aᴴ, real or complex, Hermitian.
        inner: number of terms in the sums of A Aᴴ.
        floor: a bound that is already needed; matrices below it cost one factorisation and no eigenvalues.
    """
    size = gram.shape[-1]
    trace = float(torch.diagonal(gram, dim1=-2, dim2=-1).real.sum(-1).max())
    if trace == 0.0:
        return floor
    complexity = 4 if gram.is_complex() else 1
    product_error = gamma(complexity * (inner + 4)) * trace * 1.01
    value = max(floor, _largest_eigenvalue_estimate(gram) * (1 + SLACK))
    slack = SLACK
    while True:
        shifted = torch.diag_embed(torch.full(gram.shape[:-1], value, dtype=gram.dtype)) - gram
        failed = torch.linalg.cholesky_ex(shifted).info != 0
        if not bool(failed.any()):
            break
        value = max(value, float(torch.linalg.eigvalsh(gram[failed])[:, -1].max())) * (1 + slack)
        slack *= 10
    backward = 2 * gamma(4 * complexity * (size + 2)) * size * (value + product_error)
    return round_up((value + product_error + backward) * (1 + 2.0**-50), 2)


def _largest_eigenvalue_estimate(gram: Tensor) -> float:
    """About the largest eigenvalue of a stack of Hermitian matrices; exact where the stack is small."""
    count, size = gram.shape[0], gram.shape[-1]
    candidates = gram
    if count > 4 and size > 16:
        vector = torch.linalg.vector_norm(gram, dim=-1)[..., None].to(gram.dtype)
        for _ in range(12):
            vector = gram @ vector
            vector = vector / torch.linalg.vector_norm(vector, dim=-2, keepdim=True).clamp_min(1e-300)
        quotient = torch.linalg.vector_norm(gram @ vector, dim=(-2, -1))
        candidates = gram[torch.topk(quotient, 3).indices]
    return float(torch.linalg.eigvalsh(candidates)[:, -1].max())

"""The orthogonal polar factor of a weight: the nearest matrix whose singular values are all 1."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

WELL_CONDITIONED = 300.0
"""Ratio of Gram eigenvalues up to which float32 is good enough; above it the factor is computed in float64."""

ROUNDING = 8.0
"""Units of roundoff, relative to the largest eigenvalue, by which computed Gram eigenvalues are taken to be off."""


def polar_factor_exact(matrix: Tensor) -> Tensor:
    """The orthogonal polar factor U V^T of (m, n) = U diag(s) V^T in float64, without gradient.

    Where singular values are 0 the nearest orthonormal matrix is not unique; the one of the singular value
    decomposition is taken, so that the result is orthonormal for every finite input.
    """
    with torch.no_grad():
        u, _, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
        factor: Tensor = u @ vh
        return factor


def polar_factor_near(matrix: Tensor) -> Tensor:
    """`polar_factor_exact`, by products alone where (m, n) is near its polar factor: decompositions take longer.

    With M M^T = I - E and ||E|| < 0.1, the Taylor polynomial of (I - E)^(-1/2) of order 3 leaves an E of 0.3 E^4: below
    the roundoff of float64 after three steps.
    """
    with torch.no_grad():
        matrix = matrix.double()
        if matrix.shape[0] > matrix.shape[1]:
            return polar_factor_near(matrix.T).T
        identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
        error = identity - matrix @ matrix.T
        if not float(error.norm()) < 0.1:
            return polar_factor_exact(matrix)
        for _ in range(3):
            square = error @ error
            matrix = inverse_root_near_identity(identity, error, square) @ matrix
            error = identity - matrix @ matrix.T
        return matrix


def inverse_root_near_identity(identity: Tensor, error: Tensor, square: Tensor) -> Tensor:
    """The Taylor polynomial of order 3 of (I - E)^(-1/2), I + E/2 + 3/8 E^2 + 5/16 E^3, of symmetric (m, m) matrices.

    Args:
        identity: I.
        error: E.
        square: E^2, which who asks has looked at.
    """
    return torch.addmm(identity + 0.5 * error + 0.375 * square, square, error, alpha=0.3125)


def _inverse_root(matrix: Tensor) -> tuple[Tensor, Tensor, float]:
    """(s, V, shrink): (W W^T)^(1/2) = V diag(s) V^T for a wide W; shrink V diag(1/s) V^T W has norm at most 1."""
    squares, vectors = torch.linalg.eigh(matrix @ matrix.T)
    eps = torch.finfo(matrix.dtype).eps
    largest = float(squares[-1])
    # below this the computed eigenvalue is rounding error, and its direction comes out shorter than 1
    smallest = max(float(squares[0]), 32 * ROUNDING * eps * largest, torch.finfo(matrix.dtype).tiny)
    return squares.clamp_min(smallest).sqrt(), vectors, 1.0 - ROUNDING * eps * max(1.0, largest / smallest) / 2


class _PolarFunction(torch.autograd.Function):
    """O = S^-1 W of a wide matrix (m <= n), S = (W W^T)^(1/2), through the eigendecomposition of the Gram matrix."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        values, vectors, shrink = _inverse_root(matrix)
        if float(values[-1] / values[0]) ** 2 > WELL_CONDITIONED and matrix.dtype == torch.float32:
            values, vectors, shrink = _inverse_root(matrix.double())
            shrink = min(shrink, 1.0 - torch.finfo(matrix.dtype).eps)
        inverse = shrink * (vectors / values) @ vectors.T
        factor: Tensor = (inverse @ matrix.to(inverse)).to(matrix)
        ctx.save_for_backward(factor, values.to(matrix), vectors.to(matrix), inverse.to(matrix))
        return factor

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Tensor:
        """S^-1 (G - (G O^T) O) + V K V^T O, K = (B - B^T) / (s_i + s_j), B = V^T G O^T V."""
        (grad,) = grad_outputs
        factor, values, vectors, inverse = ctx.saved_tensors
        inner = grad @ factor.T
        turned = vectors.T @ inner @ vectors
        skew = (turned - turned.T) / (values[:, None] + values[None, :])
        normal = vectors @ (skew - turned / values[:, None]) @ vectors.T
        result: Tensor = torch.addmm(inverse @ grad, normal, factor)
        return result


def polar_factor(matrix: Tensor) -> Tensor:
    """The orthogonal polar factor of (m, n), differentiable once, with the closed-form gradient.

    The result is scaled down by a bound of its own rounding error (1e-6 to 2e-4 in float32, by condition), so that
    its norm is at most 1. Ill-conditioned float32 matrices are treated in float64. Singular values below some 1e-7 of
    the largest have no defined factor: their directions come out shorter than 1, and the gradient neglects that.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return polar_factor(matrix.T).T
    if matrix.numel() == 0:
        return matrix
    result: Tensor = _PolarFunction.apply(matrix)  # type: ignore[no-untyped-call]
    return result

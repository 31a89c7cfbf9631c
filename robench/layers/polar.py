"""The orthogonal polar factor of a weight: the nearest matrix whose singular values are all 1."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robench.layers.parametrization import WeightMap


def polar_factor_exact(matrix: Tensor) -> Tensor:
    """The orthogonal polar factor U V^T of (m, n) = U diag(s) V^T in float64, without gradient.

    Where singular values are 0 the nearest orthonormal matrix is not unique; the one of the singular value
    decomposition is taken, so that the result is orthonormal for every finite input.
    """
    with torch.no_grad():
        u, _, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
        factor: Tensor = u @ vh
        return factor


class PolarFunction(torch.autograd.Function):
    """O = S^-1 W of a wide matrix (m <= n), S = (W W^T)^(1/2), through the eigendecomposition of the Gram matrix.

    Singular values below `floor` times the largest are raised to it: those directions come out shorter than 1.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, floor: float) -> Tensor:
        """The polar factor; matrix is (m, n) with m <= n."""
        squares, vectors = torch.linalg.eigh(matrix @ matrix.T)
        values = squares.clamp_min(0).sqrt()
        values = values.clamp_min(floor * float(values[-1]) + torch.finfo(matrix.dtype).tiny)
        inverse = (vectors / values) @ vectors.T
        factor: Tensor = inverse @ matrix
        ctx.save_for_backward(factor, values, vectors, inverse)
        return factor

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None]:
        """S^-1 (G - (G O^T) O) + V K V^T O, K = (B - B^T) / (s_i + s_j), B = V^T G O^T V."""
        (grad,) = grad_outputs
        factor, values, vectors, inverse = ctx.saved_tensors
        inner = grad @ factor.T
        turned = vectors.T @ inner @ vectors
        skew = (turned - turned.T) / (values[:, None] + values[None, :])
        return inverse @ grad + (vectors @ skew @ vectors.T - inverse @ inner) @ factor, None


def polar_factor(matrix: Tensor, floor: float | None = None) -> Tensor:
    """The orthogonal polar factor of (m, n), differentiable once, closed-form gradient.

    Args:
        matrix: any real matrix.
        floor: singular values below this fraction of the largest are raised to it; default: square root of the unit
            roundoff times 10.
    """
    floor = 10 * torch.finfo(matrix.dtype).eps ** 0.5 if floor is None else floor
    if matrix.shape[0] > matrix.shape[1]:
        return polar_factor(matrix.T, floor).T
    result: Tensor = PolarFunction.apply(matrix, floor)  # type: ignore[no-untyped-call]
    return result


class Polar(WeightMap):
    """The orthogonal polar factor of a weight: all singular values 1 (exact gradient-norm preservation)."""

    def forward(self, weight: Tensor) -> Tensor:
        """The polar factor."""
        return polar_factor(weight.flatten(1)).view_as(weight)

    @torch.no_grad()
    def exact(self, weight: Tensor) -> Tensor:
        """The polar factor in float64."""
        return polar_factor_exact(weight.flatten(1)).view(weight.shape)

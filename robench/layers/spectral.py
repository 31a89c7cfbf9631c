"""Spectral normalisation: division of a weight by its largest singular value."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from robench.layers.parametrization import WeightMap


def spectral_norm_upper(matrix: Tensor) -> Tensor:
    """An upper bound of the spectral norm of (m, n): the Schatten 8-norm, at most min(m, n)^(1/8) too large.

    ||W||_2 <= ||(W W^T)^2||_F^(1/4). Unlike power iteration it is never too small; costs two products.
    """
    scale = matrix.norm().clamp_min(torch.finfo(matrix.dtype).tiny)
    unit = matrix / scale
    gram = unit @ unit.T if unit.shape[0] <= unit.shape[1] else unit.T @ unit
    upper: Tensor = (gram @ gram).norm().sqrt().sqrt() * scale
    return upper


class SpectralNormalization(WeightMap):
    """W / sigma(W), sigma by power iteration on stored vectors (paper, section 4.1; Miyato et al. 2018).

    Power iteration approaches the norm from below, so that W / sigma may exceed norm 1 while it converges. In
    training mode sigma is therefore never taken below half of a proven upper bound of the norm: what comes out has norm
    at most 2, which one Björck step maps to at most 1. In evaluation mode and for export sigma is exact.

    Args:
        weight: the weight to be normalised, for its shape and for the first vectors.
        iterations: power iterations at each reading in training mode.
    """

    left: Tensor
    right: Tensor

    def __init__(self, weight: Tensor, iterations: int = 3) -> None:
        super().__init__()
        self.iterations = iterations
        matrix = weight.detach().flatten(1)
        start = torch.randn(matrix.shape[0], generator=torch.Generator().manual_seed(0))
        self.register_buffer("left", normalize(start.to(matrix), dim=0))
        self.register_buffer("right", matrix.new_zeros(matrix.shape[1]))
        self._power_iteration(matrix, 15)

    @torch.no_grad()
    def _power_iteration(self, matrix: Tensor, iterations: int) -> None:
        for _ in range(iterations):
            self.right.copy_(normalize(matrix.T @ self.left, dim=0))  # in place: a CUDA graph knows one place
            self.left.copy_(normalize(matrix @ self.right, dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight divided by its (estimated) norm; a zero weight stays zero."""
        matrix = weight.flatten(1)
        tiny = torch.finfo(weight.dtype).tiny
        if not self.training:
            norm: Tensor = torch.linalg.matrix_norm(matrix.double(), 2)
            return weight / norm.to(weight).clamp_min(tiny)
        self._power_iteration(matrix.detach(), self.iterations)
        estimate = torch.dot(self.left, matrix @ self.right)
        floor = spectral_norm_upper(matrix.detach()) / 2
        return weight / torch.maximum(estimate, floor).clamp_min(tiny)

    @torch.no_grad()
    def exact(self, weight: Tensor) -> Tensor:
        """The weight divided by its largest singular value."""
        weight = weight.double()
        norm: Tensor = torch.linalg.matrix_norm(weight.flatten(1), 2)
        return weight / norm.clamp_min(torch.finfo(weight.dtype).tiny)

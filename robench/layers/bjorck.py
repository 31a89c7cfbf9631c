"""Björck orthonormalisation (Björck and Bowie 1971), order p = 1."""

from __future__ import annotations

import torch
from torch import Tensor

from robench.layers.parametrization import WeightMap


def bjorck(matrix: Tensor, iterations: int) -> Tensor:
    """W <- W (3/2 I - 1/2 W^T W), `iterations` times, for a matrix (m, n) of norm at most 2.

    Each singular value s goes to 3/2 s - 1/2 s^3, which maps [0, 2] into [-1, 1] and has its only positive stable fixed
    point at 1. All steps but the last run on the m x m (or n x n) product Q with W_k = Q_k W; the last runs on the
    matrix itself, so that rounding errors of the products cannot leave a norm above 1.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return bjorck(matrix.T, iterations).T
    if iterations == 0:
        return matrix
    identity = torch.eye(matrix.shape[0], dtype=matrix.dtype, device=matrix.device)
    gram, product = matrix @ matrix.T, None
    for _ in range(iterations - 1):
        step = 1.5 * identity - 0.5 * gram
        product = step if product is None else step @ product
        gram = step @ gram @ step
    if product is not None:
        matrix = product @ matrix
    return 1.5 * matrix - 0.5 * (matrix @ matrix.T) @ matrix


class Bjorck(WeightMap):
    """Björck orthonormalisation of a weight of norm at most 2 (paper, section 5: 15 steps, p = 1, after spectral norm).

    Convergence is slow for small singular values: a square Gaussian matrix keeps some near 0.3 after 15 steps. The
    result then has norm at most 1 but does not preserve the gradient norm everywhere.

    Args:
        iterations: number of steps, fixed as in the paper.
    """

    def __init__(self, iterations: int = 15) -> None:
        super().__init__()
        self.iterations = iterations

    def forward(self, weight: Tensor) -> Tensor:
        """The weight after the steps."""
        return bjorck(weight.flatten(1), self.iterations).view_as(weight)

    @torch.no_grad()
    def exact(self, weight: Tensor) -> Tensor:
        """The same steps in float64: singular values as the network was trained with, not those of the limit."""
        return self.forward(weight.double())

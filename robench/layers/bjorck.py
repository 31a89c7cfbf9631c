"""Björck orthonormalisation (Björck and Bowie 1971), order p = 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

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


CLOSE = 0.05
"""Eigenvalues nearer than this, relative to their mean, take the divided difference by recurrence, not by division."""


class _ProductOfSteps(torch.autograd.Function):
    """Q(W W^T) W of a wide matrix, Q the polynomial of `iterations` steps, from W W^T = V diag(l) V^T.

    The same result as the steps in a quarter of their time on a CPU: Q(W W^T) = V diag(q(l)) V^T, and its derivative
    is V (D * V^T . V) V^T with the divided differences D_ij = (q(l_i) - q(l_j)) / (l_i - l_j) (Daleckii and Krein). One
    step takes q to 3/2 q - 1/2 l q^3, hence D to 3/2 D - 1/2 (mean(l) (q_i^2 + q_i q_j + q_j^2) D + mean(q^3)), which
    cancels nothing where l_i and l_j are close; where they are not, the quotient itself is exact enough.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, iterations: int) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix @ matrix.T)
        values = values.clamp_min(0)
        column = values.unsqueeze(1)
        mean = (column + values) / 2
        q, slopes, constant = torch.ones_like(values), torch.zeros_like(mean), mean.new_full((), 1.5)
        for _ in range(iterations):
            other = q.unsqueeze(1)
            total = other + q
            powers = torch.addcmul(other * q, total, total, value=-1)  # -(q_i^2 + q_i q_j + q_j^2)
            slopes *= torch.addcmul(constant, mean, powers, value=0.5)
            cube = q * q * q
            slopes -= (cube.unsqueeze(1) + cube).mul_(0.25)
            q = torch.addcmul(1.5 * q, values, cube, value=-0.5)
        gap = column - values
        far = gap.abs() > CLOSE * mean
        slopes = torch.where(far, (q.unsqueeze(1) - q) / torch.where(far, gap, 1.0), slopes)
        product = (vectors * q) @ vectors.T
        ctx.save_for_backward(matrix, vectors, slopes, product)
        result: Tensor = product @ matrix
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None]:
        (grad,) = grad_outputs
        matrix, vectors, slopes, product = ctx.saved_tensors
        turned = vectors.T @ (grad @ matrix.T) @ vectors
        inner = vectors @ (slopes * (turned + turned.T)) @ vectors.T
        return torch.addmm(product @ grad, inner, matrix), None


def bjorck_by_eigenvectors(matrix: Tensor, iterations: int) -> Tensor:
    """As `bjorck`, all steps but the last at once; differentiable once. Fast on a CPU, where `eigh` is."""
    return _before_the_last(_ProductOfSteps.apply, matrix, iterations)


class _Steps(torch.autograd.Function):
    """Q with Q W = the result of `iterations` steps on a wide W, from the symmetric G = W W^T; differentiable once.

    Q_0 = I, S_k = 3/2 I - 1/2 G_k, Q_{k+1} = S_k Q_k and G_{k+1} = S_k G_k S_k. All are polynomials of G and symmetric,
    so the symmetric part of each gradient is enough. On a GPU small products cost what their calls cost: here they are
    few.
    """

    @staticmethod
    def forward(ctx: Any, gram: Tensor, iterations: int) -> Tensor:
        identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        product, kept = identity, []
        for _ in range(iterations):
            step = torch.lerp(identity, gram, -0.5)  # 3/2 I - 1/2 G
            kept += [gram, step, product]
            product = step @ product
            gram = step @ gram @ step
        ctx.save_for_backward(*kept)
        return product

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None]:
        of_product, of_gram = _symmetric(grad_outputs[0]), torch.zeros_like(grad_outputs[0])
        kept = ctx.saved_tensors
        for k in range(len(kept) - 3, -1, -3):
            gram, step, product = kept[k : k + 3]
            half = of_gram @ step
            of_step = _symmetric(torch.addmm(half @ gram, of_product, product, beta=2))
            of_gram = torch.addmm(of_step, step, half, beta=-0.5)
            of_product = _symmetric(step @ of_product)
        return of_gram, None


def _symmetric(matrix: Tensor) -> Tensor:
    return torch.lerp(matrix, matrix.T, 0.5)


def bjorck_by_steps(matrix: Tensor, iterations: int) -> Tensor:
    """As `bjorck`, differentiable once, by few calls: for a GPU."""

    def steps(wide: Tensor, count: int) -> Tensor:
        product: Tensor = _Steps.apply(wide @ wide.T, count)  # type: ignore[no-untyped-call]
        return product @ wide

    return _before_the_last(steps, matrix, iterations)


def _before_the_last(steps: Callable[[Tensor, int], Tensor], matrix: Tensor, iterations: int) -> Tensor:
    """As `bjorck`, with all steps but the last, of a wide matrix, by another function; the last keeps the norm at 1."""
    if matrix.shape[0] > matrix.shape[1]:
        return _before_the_last(steps, matrix.T, iterations).T
    if iterations > 1:
        matrix = steps(matrix, iterations - 1)
    return bjorck(matrix, min(iterations, 1))


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
        steps = bjorck_by_eigenvectors if weight.device.type == "cpu" else bjorck_by_steps
        return steps(weight.flatten(1), self.iterations).view_as(weight)

    @torch.no_grad()
    def exact(self, weight: Tensor) -> Tensor:
        """The same steps in float64: singular values as the network was trained with, not those of the limit."""
        return bjorck(weight.double().flatten(1), self.iterations).view(weight.shape)

"""The polar factor as a layer trains: its inverse root is carried from step to step instead of computed afresh."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from robench.layers.parametrization import WeightMap
from robench.layers.polar import inverse_root_near_identity, polar_factor, polar_factor_exact, polar_factor_near


class _TrackedPolar(torch.autograd.Function):
    """O = T Z W with orthonormal rows, and Z' = T Z; gradient of W -> polar(Z' W)."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
        product = root @ matrix
        correction = correction_unseen(product) if product.is_cuda else newton_schulz_correction(product)
        if correction is None:
            jump = _correction_by_eigenvalues(product)
            root, product = jump @ root, jump @ product
            correction = newton_schulz_correction(product)
        if correction is None:  # the weight has lost rank: no factor is orthonormal, norm 1 is kept
            correction = torch.eye(len(root)).to(root) / torch.linalg.matrix_norm(product, 2).clamp_min(1)
        # from the product as it was rounded, so that the norm does not depend on the condition of Z and W
        factor = correction @ product
        root = correction @ root
        ctx.save_for_backward(factor, root)
        ctx.mark_non_differentiable(root)
        return factor * (1 - 16 * torch.finfo(factor.dtype).eps), root

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None]:
        """Z'^T (G - (G O^T + O G^T) O / 2): the tangent part of G, taken back through Z'."""
        grad, _ = grad_outputs
        factor, root = ctx.saved_tensors
        inner = grad @ factor.T
        symmetric = root.T @ (inner + inner.T)
        return torch.addmm(root.T @ grad, symmetric, factor, alpha=-0.5), None


def newton_schulz_correction(product: Tensor) -> Tensor | None:
    """T such that T M has orthonormal rows, for M (m, n), m <= n, near such a matrix.

    Newton-Schulz steps on M M^T = I - E by the Taylor polynomial of (I - E)^(-1/2) of order 3, and of order 1 at the
    end: odd orders come near from below, so no singular value of T M exceeds 1, and the last is above 1 - 1e-4. None
    where E is too large for that: the weight has jumped.
    """
    identity = torch.eye(product.shape[0], dtype=product.dtype, device=product.device)
    near = 0.016 if product.dtype == torch.float32 else 2 * torch.finfo(product.dtype).eps ** 0.5
    gram, correction = product @ product.T, None
    for _ in range(8):
        error = identity - gram
        if float(error.norm()) < near:
            step = identity + 0.5 * error
            return step if correction is None else step @ correction
        square = error @ error
        if not float(square.norm()) < 0.8:
            return None
        step = inverse_root_near_identity(identity, error, square)
        gram = step @ gram @ step
        correction = step if correction is None else step @ correction
    return None


def correction_unseen(product: Tensor) -> Tensor:
    """As `newton_schulz_correction`, in as many steps for any M, for a GPU: no number is looked at, so nothing waits.

    A weight that has jumped is scaled down to norm 1 at most; its small singular values then double a few times at each
    reading, until they are 1 again. Until then, as always, no singular value of T M is above 1.
    """
    identity = torch.eye(product.shape[0], dtype=product.dtype, device=product.device)
    gram = product @ product.T
    jumped = (identity - gram).norm() >= 0.8
    scale = torch.where(jumped, (gram @ gram).norm().pow(-0.25), 1.0)  # >= the norm of M to the power -1
    gram, correction = gram * scale.square(), identity * scale
    for _ in range(2):
        error = identity - gram
        square = error @ error
        step = inverse_root_near_identity(identity, error, square)
        gram = step @ gram @ step
        correction = step @ correction
    return torch.lerp(identity, gram, -0.5) @ correction  # 3/2 I - 1/2 G


def _correction_by_eigenvalues(product: Tensor) -> Tensor:
    """(M M^T)^(-1/2) in float64; singular values of M below 1e-6 of the largest are raised to that."""
    squares, vectors = torch.linalg.eigh(product.double() @ product.double().T)
    floor = max(float(squares[-1]) * 1e-12, torch.finfo(torch.float32).tiny)
    result: Tensor = ((vectors / squares.clamp_min(floor).sqrt()) @ vectors.T).to(product)
    return result


class Polar(WeightMap):
    """polar(Z W): the orthogonal polar factor of the weight W, all singular values 1 (gradient-norm preservation).

    Z, carried from step to step, is renewed at each reading in training mode so that Z W is orthonormal: by one or two
    Newton-Schulz steps, since the weight moves little. polar(Z W) is the same matrix before and after the renewal; only
    its gradient Z^T (...) is seen in other coordinates. Products only: no decomposition in a usual training step.

    A weight that is assigned (the initial one is) becomes orthogonal times a constant, the nearest such matrix:
    training then starts from a well-conditioned parameter, even where the initial weight is square or rank-deficient.

    Args:
        weight: the weight, for its shape.
    """

    root: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        small = min(weight.flatten(1).shape)
        self.register_buffer("root", torch.eye(small, dtype=weight.dtype, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """The polar factor of Z W."""
        matrix = weight.flatten(1)
        tall = matrix.shape[0] > matrix.shape[1]
        wide = matrix.T if tall else matrix
        if self.training:
            factor, root = _TrackedPolar.apply(wide, self.root)  # type: ignore[no-untyped-call]
            self.root.copy_(root.detach())  # in place: a CUDA graph reads and writes one place
        else:
            factor = polar_factor(self.root @ wide)
        result: Tensor = (factor.T if tall else factor).reshape(weight.shape)
        return result

    @torch.no_grad()
    def right_inverse(self, weight: Tensor) -> Tensor:
        """The parameter for an assigned weight: its polar factor times its root mean square singular value."""
        matrix = weight.flatten(1)
        scale = float(matrix.norm()) / math.sqrt(min(matrix.shape)) or 1.0
        self.root = torch.eye(len(self.root), dtype=weight.dtype, device=weight.device) / scale
        return (polar_factor_exact(matrix) * scale).to(weight).view_as(weight)

    @torch.no_grad()
    def exact(self, weight: Tensor) -> Tensor:
        """The polar factor in float64."""
        matrix, root = weight.flatten(1).double(), self.root.double()
        product = matrix @ root.T if matrix.shape[0] > matrix.shape[1] else root @ matrix
        return polar_factor_near(product).view(weight.shape)

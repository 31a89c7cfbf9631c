"""Muon (Jordan et al. 2024): the momentum of a matrix, its singular values made alike, as its step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

STEPS, COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)
"""Jordan's: small singular values grow by 3.4445 at each step, and all end near 1."""

ADAM_SIZE = 0.2
"""Root mean square of a step at a rate of 1, as of Adam's (Liu et al. 2025), so that one rate serves both."""


class Muon(Optimizer):
    """Muon with Nesterov's momentum and decoupled decay, for the weights before the head.

    Not `torch.optim.Muon`: that multiplies in bfloat16, which takes a CPU without such instructions twenty times as
    long as float32, and it takes no kernels.

    Args:
        weights: of two dimensions or more; (out, in, kh, kw) is the matrix (out, in kh kw), (k, m, n) are k matrices.
        lr: learning rate.
        weight_decay: share of a weight that a step takes off at a rate of 1.
        momentum: share of the momentum that stays from step to step.
    """

    def __init__(
        self, weights: Iterable[nn.Parameter], *, lr: float, weight_decay: float = 0.0, momentum: float = 0.95
    ) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the weights that have gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            rate, kept = group["lr"], group["momentum"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight.grad)
                momentum = state["momentum_buffer"].lerp_(weight.grad, 1 - kept)
                ahead = weight.grad.lerp(momentum, kept)
                matrices = list(ahead) if ahead.ndim == 3 else [ahead.flatten(1)]
                direction = torch.stack([near_polar_factor(matrix) for matrix in matrices]).view_as(weight)
                weight.mul_(1 - rate * group["weight_decay"])
                weight.add_(direction, alpha=-rate * ADAM_SIZE * math.sqrt(max(matrices[0].shape)))
        return loss


def near_polar_factor(matrix: Tensor) -> Tensor:
    """U diag(s) V^T with s between 0.6 and 1.3, of (m, n) = U diag(t) V^T.

    Singular values below some 1e-3 of the Frobenius norm come out smaller. The steps are taken on the Gram matrix,
    which is small where m and n differ.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return near_polar_factor(matrix.T).T
    linear, cubic, quintic = COEFFICIENTS
    scaled = matrix / matrix.norm().clamp_min(torch.finfo(matrix.dtype).tiny)
    gram = scaled @ scaled.T
    root = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    for number in range(STEPS):
        step = torch.addmm(gram, gram, gram, beta=cubic, alpha=quintic)
        step.diagonal().add_(linear)
        root = step @ root
        if number + 1 < STEPS:
            gram = step @ gram @ step
    factor: Tensor = root @ scaled
    return factor

"""Adversarial examples for training: L2 projected gradient descent on the loss (Madry et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robench.specs.training import AdversarialSpec
from robench.training.batches import Batch
from robench.training.losses import Loss


def perturb(
    model: nn.Module,
    batch: Batch,
    loss: Loss,
    spec: AdversarialSpec,
    bounds: tuple[float, float],
    start: Tensor,
) -> Tensor:
    """Inputs moved by at most `spec.eps` in L2, inside the bounds, so that the loss grows.

    Each step follows the gradient scaled to norm 1.

    Args:
        model: to be fooled.
        batch: inputs with labels.
        loss: to grow.
        spec: radius and steps.
        bounds: least and largest value of an input.
        start: change at which it starts, from `random_start`.
    """
    x = batch.inputs
    step = spec.relative_step * spec.eps / spec.steps
    z = _inside(x, start, spec.eps, bounds)
    for _ in range(spec.steps):
        z.requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(model(z), batch.labels), z)
        with torch.no_grad():
            z = _inside(x, z - x + step * gradient / _norms(gradient).clamp_min(1e-12), spec.eps, bounds)
    return z.detach()


def random_start(x: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    """Random directions with random lengths up to eps; drawn on the CPU, so that devices agree.

    Args:
        x: inputs that are changed so.
        eps: greatest length.
        generator: of the draws.
    """
    direction = torch.randn(x.shape, generator=generator).to(x.device)
    length = torch.rand((len(x),), generator=generator).to(x.device).view(-1, *[1] * (x.dim() - 1))
    return direction / _norms(direction).clamp_min(1e-12) * length * eps


def _inside(x: Tensor, change: Tensor, eps: float, bounds: tuple[float, float]) -> Tensor:
    """The changed inputs, projected to the ball, then cut to the bounds (which cannot lead out of the ball again)."""
    return (x + change * (eps / _norms(change).clamp_min(eps))).clamp(*bounds)


def _norms(change: Tensor) -> Tensor:
    norms: Tensor = change.flatten(1).norm(dim=1)
    return norms.view(-1, *[1] * (change.dim() - 1))

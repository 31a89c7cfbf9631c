"""The largest slope that is found: a lower bound of the constant, by autograd in float64, without the bound."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from robench.models.networks.plain import plain_module

AT_ONCE, STEPS = 2, 60


def largest_slope(module: nn.Module, shape: tuple[int, ...], box: bool, seconds: float) -> tuple[float, int]:
    """The largest norm of a Jacobian by power iterations, and the number of points that were tried.

    Args:
        module: in evaluation mode.
        shape: of one input.
        box: whether points stay in [0, 1].
        seconds: of CPU time.
    """
    network = plain_module(module).double()
    start, largest, tried = time.process_time(), 0.0, 0
    for points in _points(shape, box):
        with sdpa_kernel(SDPBackend.MATH):  # the other kernels of attention cannot be differentiated twice
            largest = max(largest, _norms(network, points, start + seconds))
        tried += len(points)
        if time.process_time() > start + seconds:
            break
    return largest * (1 - 1e-12), tried


def _points(shape: tuple[int, ...], box: bool) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(12):
        draw = torch.randn(AT_ONCE, *shape, dtype=torch.float64, generator=generator)
        even = torch.rand(AT_ONCE, *shape, dtype=torch.float64, generator=generator)
        flat = torch.rand(AT_ONCE, *(1 for _ in shape), dtype=torch.float64, generator=generator).expand_as(even)
        if box:
            yield from (even, even.round(), flat.clone(), (flat + 0.01 * draw).clamp(0, 1))
        else:
            yield from (even, draw, flat.clone(), 30 * draw.sign(), 0.01 * draw, 1000 * draw)


def _norms(network: nn.Module, points: Tensor, end: float) -> float:
    """The largest norm of the Jacobians at some points, from J v by differentiating Jᵀ u, linear in u."""
    points = points.clone().requires_grad_(True)
    generator = torch.Generator().manual_seed(1)
    vector = torch.randn(points.shape, dtype=torch.float64, generator=generator)
    wide = (-1, *(1 for _ in points.shape[1:]))
    output = network(points)
    weights = torch.zeros_like(output, requires_grad=True)
    (pulled,) = torch.autograd.grad(output, points, weights, create_graph=True)
    largest = before = 0.0
    for step in range(STEPS):
        lengths = torch.linalg.vector_norm(vector.flatten(1), dim=1).clamp_min(1e-300)
        (pushed,) = torch.autograd.grad(pulled, weights, vector / lengths.reshape(wide), retain_graph=True)
        largest = max(largest, float(torch.linalg.vector_norm(pushed.flatten(1), dim=1).max()))
        (vector,) = torch.autograd.grad(output, points, pushed, retain_graph=True)
        if time.process_time() > end:
            break
        if step % 10 == 9:
            if largest <= before * (1 + 1e-6):
                break
            before = largest
    return largest

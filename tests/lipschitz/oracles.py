"""A second implementation: dense matrices by pushing the identity through a module, and slopes by search."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from robench.models.networks.widened import widened


def dense_matrix(module: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """Matrix of the linear part of an affine module, float64."""
    network = copy.deepcopy(module).double().eval()
    size = int(torch.tensor(shape).prod())
    with torch.no_grad():
        offset = network(torch.zeros(1, *shape, dtype=torch.float64)).flatten(1)
        basis = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
        return (network(basis).flatten(1) - offset).T


def exact_norm(module: nn.Module, shape: tuple[int, ...]) -> float:
    """Largest singular value by LAPACK's SVD."""
    return float(torch.linalg.matrix_norm(dense_matrix(module, shape), 2))


def largest_slope(module: nn.Module, shape: tuple[int, ...], *, points: int = 24, seed: int = 0) -> float:
    """The largest Jacobian norm at random points and finite slope between random pairs."""
    network = copy.deepcopy(module).double().eval()
    generator = torch.Generator().manual_seed(seed)
    largest = 0.0
    for scale in (0.01, 1.0, 10.0):
        for _ in range(points // 3):
            x = torch.randn(*shape, dtype=torch.float64, generator=generator) * scale
            jacobian = torch.autograd.functional.jacobian(lambda z: network(z[None])[0], x)
            outputs = jacobian.numel() // x.numel()
            norm = torch.linalg.matrix_norm(jacobian.reshape(outputs, x.numel()), 2)
            largest = max(largest, float(norm))
            z = x + torch.randn(*shape, dtype=torch.float64, generator=generator) * scale
            with torch.no_grad():
                difference = network(x[None]) - network(z[None])
            largest = max(largest, float(torch.linalg.vector_norm(difference) / torch.linalg.vector_norm(x - z)))
    return largest * (1 - 1e-13)  # LAPACK's own rounding: an isometry may come out as 1 + 4e-16


def steepest(module: nn.Module, shape: tuple[int, ...], *, points: int = 12, seed: int = 0) -> float:
    """The largest norm of a Jacobian in float64, by a power iteration, at small, large and signed points."""
    network = widened(module.eval())
    generator = torch.Generator().manual_seed(seed)
    largest = 0.0
    for point in range(points):
        draw = torch.randn(1, *shape, dtype=torch.float64, generator=generator)
        at = (draw, draw.sign() * 30, draw.abs() * 30, -draw.abs() * 30, draw * 0.01, draw * 1000)[point % 6]
        at.requires_grad_(True)
        vector = torch.randn(1, *shape, dtype=torch.float64, generator=generator)
        with torch.enable_grad():
            output = network(at)
            weights = torch.zeros_like(output, requires_grad=True)
            (pulled,) = torch.autograd.grad(output, at, weights, create_graph=True)
            for _ in range(40):
                vector = vector / torch.linalg.vector_norm(vector)
                (pushed,) = torch.autograd.grad(pulled, weights, vector, retain_graph=True)
                largest = max(largest, float(torch.linalg.vector_norm(pushed)))
                (vector,) = torch.autograd.grad(output, at, pushed, retain_graph=True)
                if not bool(vector.any()):
                    break
    return largest * (1 - 1e-12)

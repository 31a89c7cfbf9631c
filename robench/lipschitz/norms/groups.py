"""Proven upper bounds of the norm of a convolution of any number of groups: the norm of its largest group.

A depthwise convolution has a group for each channel, hundreds of them, of which few can be the largest.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from robench.lipschitz.norms.convolution import group_bound
from robench.lipschitz.norms.spectral import largest_eigenvalue_upper
from robench.lipschitz.norms.torus import CHUNK, Geometry, Torus
from robench.numerics import binade, gamma, round_up

BLOCK_SIDE = 100
"""Most inputs of a group whose matrix is written down, one for each of many groups."""
TINY = 1e-150
"""More than underflow takes from the square of a symbol whose largest entry is about 1."""


def convolution_norm_upper(kernel: Tensor, geometry: Geometry) -> float:
    """An upper bound of the L2 norm of a convolution; the adjoint (transposed convolution) has the same.

    Args:
        kernel: (groups, out per group, in per group, *taps), float64.
        geometry: input side, stride and dilation.
    """
    if kernel.shape[0] == 1:
        return group_bound(kernel[0], geometry)
    return _largest_group(kernel, geometry)


def _largest_group(kernel: Tensor, geometry: Geometry) -> float:
    """The largest block decides, so that blocks which a cheap bound puts below another need no better bound."""
    scale = float(kernel.abs().max())
    if scale == 0.0:
        return 0.0
    limits = _frobenius_bounds(kernel / binade(scale), geometry) * binade(scale)
    order = torch.argsort(limits, descending=True)
    bound = 0.0
    for place, group in enumerate(order.tolist()):
        limit = float(limits[group])
        if limit <= bound:
            break
        if place == 1 and _block_side(kernel, geometry) <= BLOCK_SIDE:  # all that are left at once
            left = kernel[order[1:][limits[order[1:]] > bound]] / binade(scale)
            return _dense_blocks_bound(left, geometry, bound / binade(scale)) * binade(scale)
        bound = max(bound, min(limit, group_bound(kernel[group], geometry)))
    return bound


def _frobenius_bounds(kernel: Tensor, geometry: Geometry) -> Tensor:
    """An upper bound for each group: the largest Frobenius norm of its symbol, which is its norm if it is one row."""
    groups, out, inner = kernel.shape[:3]
    taps, aliases = tuple(kernel.shape[3:]), geometry.aliases
    torus = Torus.around(taps, geometry)
    flat = (kernel.flatten(3).permute(3, 0, 1, 2).flatten(1) / math.sqrt(aliases)).to(torch.complex128)
    at_once = max(1, CHUNK // (aliases * max(groups * out * inner, math.prod(taps))))
    square: Tensor = torch.zeros(groups, dtype=torch.float64)
    for waves in torch.split(torus.frequencies(), at_once):
        symbol = torus.phases(waves) @ flat
        size = torch.view_as_real(symbol).square().sum((1, 3)).reshape(-1, groups, out * inner).sum(-1)
        square = torch.maximum(square, size.max(0).values)
    magnitude = torch.linalg.vector_norm(kernel.abs().flatten(3).sum(-1).flatten(1), dim=1)
    error = gamma(math.prod(taps) + 64) * 2 * magnitude
    bounds: Tensor = (square.sqrt() * (1 + gamma(2 * aliases * out * inner + 32)) + error + TINY) * (1 + 2.0**-50)
    return bounds


def _block_side(kernel: Tensor, geometry: Geometry) -> float:
    """Inputs of one group, where its matrix can be written down."""
    if geometry.circular or geometry.padding is None:
        return math.inf
    return kernel.shape[2] * math.prod(geometry.size)


def _dense_blocks_bound(kernel: Tensor, geometry: Geometry, floor: float) -> float:
    """The largest norm of the matrices of some groups of one convolution, and `floor` at least.

    Their entries are entries of the kernels: a convolution of unit vectors rounds nothing.
    """
    assert geometry.padding is not None
    inner, size = kernel.shape[2], geometry.size
    basis = torch.eye(inner * math.prod(size), dtype=torch.float64).reshape(-1, inner, *size)
    basis = functional.pad(basis, [side for pair in reversed(geometry.padding) for side in pair])
    convolve: Any = (functional.conv1d, functional.conv2d, functional.conv3d)[len(size) - 1]
    square = round_up(floor * floor, 2)
    for part in torch.split(kernel, max(1, CHUNK // basis[0].numel() // len(basis) // kernel.shape[1])):
        images = convolve(basis, part.flatten(0, 1), stride=geometry.stride, dilation=geometry.dilation)
        blocks = images.reshape(len(basis), len(part), -1).transpose(0, 1)
        gram = blocks @ blocks.mT if blocks.shape[1] <= blocks.shape[2] else blocks.mT @ blocks
        square = largest_eigenvalue_upper(gram, inner=max(blocks.shape[1:]), floor=square)
    return round_up(math.sqrt(square) * (1 + 2.0**-50), 2)

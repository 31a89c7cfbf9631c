"""Proven upper bounds of the norm of a convolution, from its symbol on a torus that is large enough.

Zero padding is a compression of the convolution on a torus of side ≥ n + k − 1, where no window meets the image on
both of its ends; a stride keeps one coset, whose symbol holds the aliases of each coarse frequency side by side.
After Sedghi, Gupta and Long (ICLR 2019) for the torus; the embedding is proved in docs/design/0004-soundness.md §3.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from robench.lipschitz.spectral import largest_eigenvalue_upper, spectral_norm_upper
from robench.numerics import gamma, round_up

CHUNK = 1 << 22
"""Complex numbers of the symbol that are held at once."""


@dataclass(frozen=True)
class Geometry:
    """Where a convolution slides; one entry per spatial axis.

    Fields:
        size: side of its input.
        stride, dilation: as in torch.
        circular: the input is closed to a torus of side `size` and the stride divides it.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    circular: bool = False


def convolution_norm_upper(kernel: Tensor, geometry: Geometry) -> float:
    """An upper bound of the L2 norm of a convolution; the adjoint (transposed convolution) has the same.

    Args:
        kernel: (groups, out per group, in per group, *taps), float64.
        geometry: input side, stride and dilation.
    """
    return max(
        min(_torus_bound(group, geometry), reshaped_kernel_bound(group, geometry)) for group in kernel
    )  # the map is block diagonal: the largest block decides


def reshaped_kernel_bound(kernel: Tensor, geometry: Geometry) -> float:
    """The strict reshaped-kernel bound ‖K as (out, in·taps)‖ √(windows that see one pixel); one group.

    Singla and Feizi 2021; with the window count of Serrurier et al. 2021, appendix C.3.
    """
    windows = 1
    for taps, stride, dilation in zip(kernel.shape[2:], geometry.stride, geometry.dilation, strict=True):
        residues = [(tap * dilation) % stride for tap in range(taps)]
        windows *= max(residues.count(residue) for residue in set(residues))
    return round_up(spectral_norm_upper(kernel.flatten(1)) * math.sqrt(windows), 3)


def torus_sides(taps: tuple[int, ...], geometry: Geometry) -> tuple[int, ...]:
    """Sides of the torus: multiples of the stride, ≥ n + k − 1 with k the dilated kernel side."""
    if geometry.circular:
        return geometry.size
    return tuple(
        stride * math.ceil((size + dilation * (k - 1)) / stride)
        for size, stride, dilation, k in zip(geometry.size, geometry.stride, geometry.dilation, taps, strict=True)
    )


def _torus_bound(kernel: Tensor, geometry: Geometry) -> float:
    """Largest singular value over all frequencies of the folded symbol; kernel (out, in, *taps)."""
    scale = float(kernel.abs().max())
    if scale == 0.0:
        return 0.0
    exponent = 2.0 ** math.frexp(scale)[1]
    kernel = kernel / exponent
    out, inner = kernel.shape[:2]
    taps = tuple(kernel.shape[2:])
    sides = torus_sides(taps, geometry)
    aliases = math.prod(geometry.stride)
    flat = kernel.flatten(2).permute(2, 0, 1).reshape(-1, out * inner)
    flat = flat.to(torch.complex128)
    square = 0.0
    for phases in _phases(taps, geometry, sides, chunk=max(1, CHUNK // (out * inner * aliases))):
        symbol = (phases.reshape(-1, flat.shape[0]) @ flat).reshape(-1, aliases, out, inner)
        folded = symbol.transpose(1, 2).reshape(-1, out, aliases * inner) / math.sqrt(aliases)
        gram = folded @ folded.mH if out <= aliases * inner else folded.mH @ folded
        square = largest_eigenvalue_upper(gram, inner=max(out, aliases * inner), floor=square)
    # error of the symbol: sums of `taps` products with phases that are right to a few units
    magnitude = float(torch.linalg.vector_norm(kernel.abs().flatten(2).sum(-1)))
    error = gamma(flat.shape[0] + 64) * 2 * magnitude
    return round_up((math.sqrt(square) + error) * exponent * (1 + 2.0**-50), 2)


def _phases(taps: tuple[int, ...], geometry: Geometry, sides: tuple[int, ...], *, chunk: int) -> Iterator[Tensor]:
    """exp(−2πi w·t) for coarse frequencies, their aliases and taps: (≤ chunk, aliases, taps) at a time.

    A real kernel has conjugate symbols at w and −w, so one of the two is enough.
    """
    coarse = tuple(side // stride for side, stride in zip(sides, geometry.stride, strict=True))
    frequencies = torch.cartesian_prod(*[torch.arange(side) for side in coarse]).reshape(-1, len(coarse))
    mirrored = (-frequencies) % torch.tensor(coarse)
    weight = torch.tensor([math.prod(coarse[axis + 1 :]) for axis in range(len(coarse))])
    frequencies = frequencies[(frequencies * weight).sum(1) <= (mirrored * weight).sum(1)]
    shifts = torch.tensor(list(itertools.product(*[range(stride) for stride in geometry.stride])))
    positions = torch.tensor(list(itertools.product(*[range(k) for k in taps]))) * torch.tensor(geometry.dilation)
    for start in range(0, frequencies.shape[0], chunk):
        waves = frequencies[start : start + chunk, None] + shifts * torch.tensor(coarse)
        turn = torch.zeros(waves.shape[0], waves.shape[1], positions.shape[0], dtype=torch.float64)
        for axis, side in enumerate(sides):
            # reduced modulo the side in integers: the angle stays exact to a unit
            turn += ((waves[:, :, None, axis] * positions[:, axis]) % side).double() / side
        angle = turn * (-2 * math.pi)
        yield torch.complex(torch.cos(angle), torch.sin(angle))

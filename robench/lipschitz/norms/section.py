"""The section of a torus that the image, or the windows, lie in: its norm is a little less than that of the torus.

docs/design/0004-soundness.md §3.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from robench.lipschitz.norms.torus import SHIFTS, Geometry, Torus
from robench.numerics import round_up

SECTION_WORK = 1e8
"""Frequencies × side³ of their matrices up to which the section is bounded."""


def affordable_box(taps: tuple[int, ...], geometry: Geometry, side: int) -> tuple[int, ...] | None:
    """Sides of the section's box, or None if it is too much work on the torus that it needs.

    Args:
        taps: kernel sides.
        geometry: of the convolution.
        side: of the Gram matrices.
    """
    lengths = box_lengths(taps, geometry)
    frequencies = math.prod(Torus.around(taps, geometry, lengths).coarse) // 2 + 1
    return lengths if frequencies * side**3 <= SECTION_WORK else None


def box_lengths(taps: tuple[int, ...], geometry: Geometry) -> tuple[int, ...]:
    """Sides of a box on the coarse torus: of all pixels, or of all windows if those are known and fewer.

    One or the other on all axes at once: T*T is a compression to pixels and TT* one to windows, and nothing is a
    compression to pixels along one axis and windows along another.
    """
    pixels = tuple(
        1 + math.ceil((size - 1) / stride) for size, stride in zip(geometry.size, geometry.stride, strict=True)
    )
    if geometry.padding is None:
        return pixels
    windows = tuple(
        (size + sum(padding) - dilation * (side - 1) - 1) // stride + 1
        for size, padding, dilation, side, stride in zip(
            geometry.size, geometry.padding, geometry.dilation, taps, geometry.stride, strict=True
        )
    )
    return min(pixels, windows, key=math.prod)


def shifts_within(sides: tuple[int, ...], lengths: tuple[int, ...]) -> Tensor:
    """Shifts m of the multipliers 2 cos(m·w), one of m and −m: too short to lead around the torus into the box."""
    reach = [min(SHIFTS[len(sides)], side - length) for side, length in zip(sides, lengths, strict=True)]
    ranges = [range(-largest, largest + 1) for largest in reach]
    zero = (0,) * len(sides)
    return torch.tensor([shift for shift in itertools.product(*ranges) if shift > zero])


def shift_limits(shifts: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Norm of the section of 2 cos(m·w) on the box: paths of at most ⌈n/|m|⌉ pixels, each 2 cos(π/(pixels + 1))."""
    limits = []
    for shift in shifts.tolist():
        path = min(math.ceil(length / abs(step)) for length, step in zip(lengths, shift, strict=True) if step)
        limits.append(round_up(2 * math.cos(math.pi / (path + 1)), 4) if path > 1 else 0.0)
    return torch.tensor(limits, dtype=torch.float64)

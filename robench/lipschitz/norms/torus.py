"""The torus that a convolution with zero padding is embedded in, and its frequencies.

Zero padding is a compression of the convolution on a torus of side ≥ n + k − 1, where no window meets the image on
both of its ends; a stride keeps one coset, whose symbol holds the aliases of each coarse frequency side by side.
After Sedghi, Gupta and Long (ICLR 2019) for the torus; the embedding is proved in docs/design/0004-soundness.md §3.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 1 << 22
"""Complex numbers of the symbol that are held at once."""
SHIFTS = {1: 9, 2: 4, 3: 2}
"""Largest shift of a multiplier along an axis, by the number of axes."""


@dataclass(frozen=True)
class Geometry:
    """Where a convolution slides; one entry per spatial axis.

    Fields:
        size: side of its input.
        stride, dilation: as in torch.
        circular: the input is closed to a torus of side `size` and the stride divides it.
        padding: zeros before and after; None if unknown, which is sound for any.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    circular: bool = False
    padding: tuple[tuple[int, int], ...] | None = None

    @property
    def aliases(self) -> int:
        """Fine frequencies that a stride folds into one."""
        return math.prod(self.stride)

    def looseness(self, taps: tuple[int, ...]) -> float:
        """How large windows are beside the image: the torus exceeds the true norm by about the square of this."""
        return max(d * (k - 1) / n for k, d, n in zip(taps, self.dilation, self.size, strict=True))

    def windows_on_a_pixel(self, taps: tuple[int, ...]) -> int:
        """Windows that see one pixel, at most."""
        windows = 1
        for side, stride, dilation in zip(taps, self.stride, self.dilation, strict=True):
            residues = [(tap * dilation) % stride for tap in range(side)]
            windows *= max(residues.count(residue) for residue in set(residues))
        return windows

    def but_last(self) -> Geometry:
        """Of all axes but the last."""
        padding = None if self.padding is None else self.padding[:-1]
        return Geometry(self.size[:-1], self.stride[:-1], self.dilation[:-1], padding=padding)


def torus_sides(taps: tuple[int, ...], geometry: Geometry, lengths: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """Sides of the torus: multiples of the stride, ≥ n + k − 1 with k the dilated kernel side.

    Args:
        taps: kernel sides.
        geometry: of the convolution.
        lengths: coarse sides of a box that shifts of up to `SHIFTS` must not leave and enter again; None if there is
            none.
    """
    if geometry.circular:
        return geometry.size
    sides = []
    for axis, (size, stride, dilation) in enumerate(
        zip(geometry.size, geometry.stride, geometry.dilation, strict=True)
    ):
        coarse = math.ceil((size + dilation * (taps[axis] - 1)) / stride)
        if lengths is not None:
            coarse = max(coarse, lengths[axis] + SHIFTS[len(lengths)])
        sides.append(stride * coarse)
    return tuple(sides)


@dataclass(frozen=True)
class Torus:
    """A torus on which a kernel of these taps slides.

    Fields:
        taps: kernel sides.
        geometry: of the convolution.
        sides: of the torus, multiples of the stride.
    """

    taps: tuple[int, ...]
    geometry: Geometry
    sides: tuple[int, ...]

    @classmethod
    def around(cls, taps: tuple[int, ...], geometry: Geometry, lengths: tuple[int, ...] | None = None) -> Torus:
        """The smallest that will do.

        Args:
            taps: kernel sides.
            geometry: of the convolution.
            lengths: as in `torus_sides`.
        """
        return cls(taps, geometry, torus_sides(taps, geometry, lengths))

    @property
    def coarse(self) -> tuple[int, ...]:
        """Sides of the torus of windows."""
        return tuple(side // stride for side, stride in zip(self.sides, self.geometry.stride, strict=True))

    def frequencies(self) -> Tensor:
        """One of w and −w on the coarse torus: a real kernel has conjugate symbols there."""
        coarse = self.coarse
        waves = torch.cartesian_prod(*[torch.arange(side) for side in coarse]).reshape(-1, len(coarse))
        mirrored = (-waves) % torch.tensor(coarse)
        weight = torch.tensor([math.prod(coarse[axis + 1 :]) for axis in range(len(coarse))])
        return waves[(waves * weight).sum(1) <= (mirrored * weight).sum(1)]

    def phases(self, waves: Tensor) -> Tensor:
        """exp(−2πi w·t) for coarse frequencies, their aliases and taps: (frequencies, aliases, taps)."""
        positions = torch.tensor(list(itertools.product(*[range(k) for k in self.taps])))
        return self.turns(waves, positions * torch.tensor(self.geometry.dilation))

    def turns(self, waves: Tensor, positions: Tensor) -> Tensor:
        """The same for positions (count, axes) of the fine torus: (frequencies, aliases, count)."""
        shifts = torch.tensor(list(itertools.product(*[range(stride) for stride in self.geometry.stride])))
        fine = waves[:, None] + shifts * torch.tensor(self.coarse)
        turn = torch.zeros(fine.shape[0], fine.shape[1], positions.shape[0], dtype=torch.float64)
        for axis, side in enumerate(self.sides):  # reduced modulo the side in integers: exact to a unit
            turn += ((fine[:, :, None, axis] * positions[:, axis]) % side).double() / side
        angle = turn * (-2 * math.pi)
        return torch.complex(torch.cos(angle), torch.sin(angle))

"""Gram matrices of a symbol as trigonometric polynomials: the products of taps, by the distance of the taps.

K̂(w) K̂(w)ᴴ = Σ_m exp(−2πi w·m) R_m with R_m = Σ_{t − t' = m} K_t K_t'ᵀ. There are few distances and many frequencies, so
that this costs a fraction of a product at each frequency (docs/design/0004-soundness.md §3).
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from robench.lipschitz.norms.torus import Torus
from robench.numerics import gamma, round_up


class Lags(NamedTuple):
    """A polynomial: the value at 0, and that at each distance m, one of m and −m.

    Fields:
        torus: where it is evaluated.
        distances: (L, axes), of taps.
        even: R_0, and R_m + R_mᵀ, each flat: (1 + L, side²).
        odd: R_m − R_mᵀ: (L, side²).
        error: how far, in norm, a computed value is from K̂K̂ᴴ.
    """

    torus: Torus
    distances: Tensor
    even: Tensor
    odd: Tensor
    error: float

    def values(self, waves: Tensor) -> Tensor:
        """Gram matrices at coarse frequencies, (frequencies, side, side), complex.

        Args:
            waves: the frequencies.
        """
        turn = torch.zeros(len(waves), len(self.distances), dtype=torch.float64)
        steps = self.distances * torch.tensor(self.torus.geometry.dilation)
        for axis, side in enumerate(self.torus.sides):  # reduced modulo the side in integers: exact to a unit
            turn += ((waves[:, axis, None] * steps[:, axis]) % side).double() / side
        angle = turn * (2 * math.pi)
        ones = torch.ones(len(waves), 1, dtype=torch.float64)
        side = math.isqrt(self.even.shape[1])
        real = torch.cat((ones, torch.cos(angle)), dim=1) @ self.even
        return torch.complex(real, -torch.sin(angle) @ self.odd).reshape(-1, side, side)


def lags(kernel: Tensor, torus: Torus) -> Lags:
    """The polynomial of a kernel, (out, in, *taps), of side `out`; aliases that a stride folds are averaged.

    Of aliases a, exp(−2πi a·m d/s) is left on average only where s divides m d, and is 1 there.

    Args:
        kernel: real.
        torus: where it slides.
    """
    taps, geometry = torus.taps, torus.geometry
    zero = (0,) * len(taps)
    ranges = [range(1 - side, side) for side in taps]
    distances = [
        distance
        for distance in itertools.product(*ranges)
        if distance > zero
        and all(m * d % s == 0 for m, d, s in zip(distance, geometry.dilation, geometry.stride, strict=True))
    ]
    middle = _products(kernel, zero)
    products = torch.stack([_products(kernel, distance) for distance in distances]) if distances else middle[:0][None]
    products = products.reshape(len(distances), *middle.shape)
    even = torch.cat((middle[None], products + products.mT)).flatten(1)
    odd = (products - products.mT).flatten(1)
    # all |R_m| together are (Σ|K_t|)(Σ|K_t|)ᵀ; sums of a product for each input and tap, then of one for each distance
    magnitude = float(kernel.abs().flatten(2).sum(-1).square().sum())
    terms = kernel[0].numel() + 2 * len(distances) + 64
    error = round_up(4 * gamma(terms) * magnitude * (1 + gamma(kernel.numel() + 8)), 4)
    return Lags(torus, torch.tensor(distances).reshape(-1, len(taps)), even, odd, error)


def _products(kernel: Tensor, distance: tuple[int, ...]) -> Tensor:
    """R_m: the sum of K_t K_t'ᵀ over taps with t − t' = m."""
    later, earlier = kernel, kernel
    for axis, step in enumerate(distance):
        length = kernel.shape[2 + axis] - abs(step)
        later = later.narrow(2 + axis, max(step, 0), length)
        earlier = earlier.narrow(2 + axis, max(-step, 0), length)
    return later.flatten(1) @ earlier.flatten(1).T

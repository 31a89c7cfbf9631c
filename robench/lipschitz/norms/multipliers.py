"""Slopes of x ↦ P x + V φ(A x + b), each entry of φ of slopes in a known range, by diagonal multipliers.

Any θ > 0 and L give the bound L·max(1, ‖Q‖)², with Q = [[P/L, V/θ], [θ A/L, 0]] and slopes in [−1, 1]; an interior
point method proposes them, and the norm of Q is proven as any other (docs/design/0015-residual-blocks.md §3).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float64, Inexact
from scipy.optimize import minimize_scalar
from torch import Tensor

from robench.lipschitz.norms.rounding import vector_norm_upper
from robench.lipschitz.norms.spectral import stacked_norm_upper
from robench.numerics import gamma, round_up

UNIT = 2.0**-53
ROUNDS, STEPS, GROWTH = 9, 60, 6.0
"""Of the interior point method: weights of the objective, Newton steps at each, and the ratio of the weights."""
TRIED = 64
"""About as many frequencies are looked at where a multiple of given multipliers is looked for."""
RAY = (math.log(1e-8), math.log(1e3))
"""How far a multiple of given multipliers may be above the least one that is feasible: logarithms of the excess."""


class Block(NamedTuple):
    """The maps P, V and A of a block whose φ has slopes in [−1, 1]; stacked frequencies, or one matrix each.

    Fields:
        skip: P (f, out, in).
        outer: V (f, out, m).
        inner: A (f, m, in).
    """

    skip: Inexact[Tensor, "f out n"]
    outer: Inexact[Tensor, "f out m"]
    inner: Inexact[Tensor, "f m n"]


class Multipliers(NamedTuple):
    """What is proposed: a level L, and the root θ of the multiplier of each entry of φ."""

    level: float
    roots: Float64[Tensor, " m"]


def block_slope_upper(
    skip: Tensor, outer: Tensor, inner: Tensor, lowest: Tensor, largest: Tensor, weights: Tensor | None = None
) -> float:
    """An upper bound of ‖P + V S A‖ over all diagonal S with lowest ≤ S ≤ largest.

    Of a stack, one matrix a frequency, P, V and A act on images of several channels, each frequency for itself, and
    units are channels: their slopes may differ at each position.

    Args:
        skip: P (f, out, n), float64, or complex128 of a stack of frequencies.
        outer: V (f, out, m).
        inner: A (f, m, n).
        lowest: slopes (m,).
        largest: slopes (m,).
        weights: multipliers, up to a factor; None to look for them, which takes longer.
    """
    complexity = 4 if inner.is_complex() else 1
    middle, radius = (lowest + largest) / 2, (largest - lowest) / 2 * (1 + 4 * UNIT)
    centred = skip + (outer * middle) @ inner
    outer_size, inner_size = stacked_size(outer), stacked_size(inner)
    sizes = outer_size * float(middle.abs().max()) * inner_size
    off = gamma(complexity * (inner.shape[1] + 8)) * (stacked_size(skip) + sizes) * 2
    block = Block(centred, outer * radius, inner)
    proposed = propose(block) if weights is None else _along(block, weights)
    if proposed is None:
        return math.inf
    return round_up(_proven(block, proposed) + off + 4 * UNIT * stacked_size(block.outer) * inner_size, 4)


def stacked_size(stack: Inexact[Tensor, "f m n"]) -> float:
    """An upper bound of the largest norm in a stack of matrices, Frobenius' one."""
    return max(vector_norm_upper(matrix) for matrix in stack)


def _proven(block: Block, proposed: Multipliers) -> float:
    """L·max(1, ‖Q‖)², the rounding of the entries of Q included."""
    matrices = _contraction(block, proposed)
    if not bool(matrices.isfinite().all()):
        return math.inf
    norm = stacked_norm_upper(matrices) + 4 * UNIT * stacked_size(matrices)
    return proposed.level if norm <= 1 else round_up(proposed.level * norm * norm, 4)


def _contraction(block: Block, proposed: Multipliers) -> Tensor:
    """Q = [[P/L, V/θ], [θ A/L, 0]] of each frequency."""
    level, roots = proposed
    corner = block.inner.new_zeros(len(block.inner), len(roots), len(roots))
    above = torch.cat((block.skip / level, block.outer / roots), 2)
    return torch.cat((above, torch.cat((block.inner * roots[:, None] / level, corner), 2)), 1)


def propose(block: Block) -> Multipliers | None:
    """A level and multipliers that nearly prove it, by Newton's method on a logarithmic barrier.

    The least λ with N(λ, t) = [[λI − PᴴP − AᴴTA, −PᴴV], [−VᴴP, T − VᴴV]] ⪰ 0, which is affine in λ and the diagonal T.
    """
    lengths = [torch.linalg.vector_norm(block.outer, dim=1), torch.linalg.vector_norm(block.inner, dim=2)]
    columns, rows = (length.square().mean(0).sqrt() for length in lengths)
    small = 1e-9 * max(float(columns.max()), float(rows.max()), 1e-300)
    guess = (columns + small) / (rows + small)
    unit = guess.sqrt().to(block.outer.dtype)
    scaled = Block(block.skip, block.outer / unit, block.inner * unit[:, None])
    barrier = _Barrier(scaled)
    start = barrier.start()
    if start is None:
        return None
    values = barrier.minimise(start)
    level, multipliers = float(values[0]), values[1:] * guess
    if not (level > 0 and bool((multipliers > 0).all()) and bool(multipliers.isfinite().all())):
        return None
    return Multipliers(math.sqrt(level), multipliers.sqrt())


def _along(block: Block, weights: Tensor) -> Multipliers | None:
    """The best multiple of some multipliers: λ_max(Pᴴ (I − V T⁻¹ Vᴴ)⁻¹ P + Aᴴ T A) is convex in T."""
    skip, outer, inner = (part[:: max(1, len(block.inner) // TRIED)] for part in block)
    least = float(torch.linalg.matrix_norm(outer / weights.sqrt(), 2).max()) ** 2 * (1 + 1e-12)
    if not (0 < least < math.inf and bool((weights > 0).all())):
        return None
    eye = torch.eye(skip.shape[1], dtype=skip.dtype)

    def level(logarithm: float) -> float:
        multipliers = weights * (least * (1 + math.exp(logarithm)))
        factor, failed = torch.linalg.cholesky_ex(eye - (outer / multipliers) @ outer.mH)
        if bool(failed.any()):
            return math.inf
        upper = torch.linalg.solve_triangular(factor, skip, upper=False)
        lower = inner * multipliers.sqrt()[:, None]
        return float(torch.linalg.eigvalsh(upper.mH @ upper + lower.mH @ lower)[:, -1].max())

    found = minimize_scalar(level, bounds=RAY, method="bounded", options={"xatol": 0.1, "maxiter": 16})
    if not (found.fun > 0 and math.isfinite(found.fun)):
        return None
    return Multipliers(math.sqrt(found.fun), (weights * (least * (1 + math.exp(found.x)))).sqrt())


class _Barrier:
    """κλ − log det N(λ, t), and its derivatives; the first variable is λ."""

    def __init__(self, block: Block) -> None:
        self.inputs, self.units = block.inner.shape[2], block.inner.shape[1]
        both = torch.cat((block.skip, block.outer), dim=2)
        self.fixed = -(both.mH @ both)
        zeros = block.inner.new_zeros(len(block.inner), self.units, self.units)
        eye = torch.eye(self.units, dtype=zeros.dtype).expand(len(zeros), -1, -1)
        self.lower = torch.cat((block.inner, zeros), dim=2)  # rows c of −t c cᴴ
        self.rows = torch.cat((self.lower, torch.cat((zeros.new_zeros(block.inner.shape), eye), dim=2)), dim=1)
        self.block = block

    def matrix(self, values: Tensor) -> Tensor:
        """N at these values."""
        diagonal = torch.cat((values[:1].expand(self.inputs), values[1:]))
        inner = self.lower * values[1:].sqrt()[:, None]
        return self.fixed - inner.mH @ inner + torch.diag(diagonal).to(self.fixed.dtype)

    def start(self) -> Tensor | None:
        """Values inside: a multiple of the identity for T, and a level that is large enough."""
        outer, inner = (float(torch.linalg.matrix_norm(part, 2).max()) for part in (self.block.outer, self.block.inner))
        skip = float(torch.linalg.matrix_norm(self.block.skip, 2).max())
        if not 0 < outer < math.inf or not math.isfinite(inner) or not math.isfinite(skip):
            return None
        weight = 2 * outer**2
        level = 2 * (skip**2 * 2 + weight * inner**2) + 1e-30
        return torch.cat(
            (torch.tensor([level], dtype=torch.float64), torch.full((self.units,), weight, dtype=torch.float64))
        )

    def minimise(self, values: Tensor) -> Tensor:
        """The central path, as far as it pays."""
        weight = (self.inputs + self.units) * len(self.fixed) / float(values[0])
        for _ in range(ROUNDS):
            for _ in range(STEPS):
                moved = self._step(values, weight)
                if moved is None:
                    break
                values = moved
            weight *= GROWTH
        return values

    def _step(self, values: Tensor, weight: float) -> Tensor | None:
        """One damped Newton step; None where there is no progress to make."""
        factor, info = torch.linalg.cholesky_ex(self.matrix(values))
        if bool(info.any()):
            return None
        inverse = torch.cholesky_inverse(factor)
        gradient, hessian = self._derivatives(inverse)
        gradient[0] += weight
        scale = hessian.diagonal().rsqrt()
        conditioned = hessian * scale[:, None] * scale + 1e-14 * torch.eye(len(scale), dtype=torch.float64)
        solver, failed = torch.linalg.cholesky_ex(conditioned)
        if bool(failed):
            return None
        step = -scale * torch.cholesky_solve((scale * gradient)[:, None], solver)[:, 0]
        slope = float(gradient @ step)
        if not slope < -1e-4:
            return None
        here, length = self._value(values, weight, factor), 1.0
        for _ in range(30):
            moved = values + length * step
            if bool((moved > 0).all()):
                there, wrong = torch.linalg.cholesky_ex(self.matrix(moved))
                if not bool(wrong.any()) and self._value(moved, weight, there) <= here + 0.1 * length * slope:
                    return moved
            length /= 2
        return None

    @staticmethod
    def _value(values: Tensor, weight: float, factor: Tensor) -> float:
        logarithm = 2 * torch.diagonal(factor, dim1=-2, dim2=-1).real.log().sum()
        return weight * float(values[0]) - float(logarithm)

    def _derivatives(self, inverse: Tensor) -> tuple[Tensor, Tensor]:
        """Of −log det N: −tr(N⁻¹ E_i), and tr(N⁻¹ E_i N⁻¹ E_j), with E_i the derivatives of N."""
        m, n = self.units, self.inputs
        half = self.rows @ inverse
        table = (half @ self.rows.mH).abs().square()
        signs = torch.cat((-torch.ones(m), torch.ones(m))).double()
        own = torch.diagonal(half @ self.rows.mH, dim1=-2, dim2=-1).real.sum(0)
        gradient = torch.cat(
            (torch.diagonal(inverse, dim1=-2, dim2=-1).real[:, :n].sum()[None], (signs * own).reshape(2, m).sum(0))
        )
        signed = (signs[:, None] * signs * table.sum(0)).reshape(2, m, 2, m).sum((0, 2))
        mixed = (signs * half[:, :, :n].abs().square().sum((0, 2))).reshape(2, m).sum(0)
        hessian = torch.zeros(m + 1, m + 1, dtype=torch.float64)
        hessian[0, 0] = inverse[:, :n, :n].abs().square().sum()
        hessian[0, 1:] = hessian[1:, 0] = mixed
        hessian[1:, 1:] = signed
        return -gradient, hessian

"""A polynomial p(A) of a map A that is skew or symmetric: its norm is the largest |p| over what eigenvalues A can have.

docs/design/0021-polynomials-of-a-map.md
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from robench.lipschitz.norms.linear import schur_bound
from robench.lipschitz.norms.windows import Convolution
from robench.numerics import gamma, round_up

PIECES = 512
"""Parts of the interval of eigenvalues."""


def off_symmetric(op: Convolution, sign: int) -> float:
    """An upper bound of ‖A − sign·Aᵀ‖ of a convolution that keeps the size of its images; infinite for others.

    Args:
        op: the convolution A.
        sign: 1 for symmetric, −1 for skew.
    """
    geometry, taps = op.geometry, op.kernel.shape[3:]
    centered = all(
        before == after == d * (side - 1) // 2 and side % 2
        for (before, after), side, d in zip(op.padding, taps, geometry.dilation, strict=True)
    )
    plain = all(stride == 1 for stride in geometry.stride) and op.output_size == geometry.size
    if not (centered and plain) or op.kernel.shape[1] != op.kernel.shape[2]:
        return math.inf
    adjoint = op.kernel.transpose(1, 2).flip(tuple(range(3, op.kernel.dim())))
    size = (op.kernel - sign * adjoint).abs().flatten(3).sum(-1)
    if not bool(size.any()):
        return 0.0
    rows, columns = float(size.sum(2).max()), float(size.sum(1).max())
    return schur_bound(rows, columns, math.prod(taps) * size.shape[1] + 8)


def polynomial_norm_upper(coefficients: Sequence[float], norm: float, off: float, sign: int) -> float:
    """An upper bound of ‖c_0 I + c_1 A + c_2 A² + …‖.

    Args:
        coefficients: c_0, c_1, …, each within 64 roundings a degree of what is meant.
        norm: at least ‖A‖.
        off: at least ‖A − sign·Aᵀ‖.
        sign: 1 where A is nearly symmetric, −1 where it is nearly skew.
    """
    count = len(coefficients)
    c = np.asarray(coefficients)
    sizes = np.abs(c)
    reach = round_up(norm + off)
    degrees = np.arange(count)
    whole = float(sizes @ reach ** degrees.astype(float))
    steep = float(degrees[1:] @ (sizes[1:] * reach ** (degrees[1:] - 1.0)))
    if not math.isfinite(whole * whole):
        return math.inf
    # |p(λ)|² as a polynomial in t, for λ = i t (skew) or λ = t (symmetric)
    real, imaginary = (c, np.zeros(count)) if sign == 1 else (c * _cycle(count, 0), c * _cycle(count, 1))
    square = np.convolve(real, real) + np.convolve(imaginary, imaginary)
    error = gamma(8 * count + 64) * whole * whole
    largest = _largest(square, reach if sign == 1 else 0.0, reach) + error
    value = math.sqrt(max(largest, 0.0)) + gamma(64 * count + 64) * whole + 0.5 * off * steep * (1 + gamma(4 * count))
    return round_up(value * (1 + gamma(16)), 4)


def _cycle(count: int, start: int) -> np.ndarray:
    """Signs of the powers of i that are real (from 0) or imaginary (from 1), 0 for the others."""
    return np.array([0.0 if (k - start) % 2 else (-1.0) ** ((k - start) // 2) for k in range(count)])


def _largest(polynomial: np.ndarray, low: float, high: float) -> float:
    """An upper bound of the largest value on [−low, high], but for rounding: Taylor about the middle of each piece."""
    edges = np.linspace(-low, high, PIECES + 1)
    middles, radius = (edges[1:] + edges[:-1]) / 2, (high + low) / PIECES / 2 * (1 + 2.0**-40) + high * 2.0**-50
    degrees = np.arange(len(polynomial), dtype=float)
    powers = middles[:, None] ** degrees
    values = powers @ polynomial
    slopes = powers[:, :-1] @ (degrees[1:] * polynomial[1:])
    bend = float((degrees * np.maximum(degrees - 1, 0))[2:] @ (np.abs(polynomial[2:]) * high ** (degrees[2:] - 2)))
    return float((values + np.abs(slopes) * radius).max()) + bend * radius * radius / 2 * (1 + 2.0**-40)

"""Constants of pairs of classes for chains of linear maps and rising functions of one entry: the rule `scaled`.

For any diagonal multipliers Λ_k ≥ 0 there are matrices M_k with ‖δs‖² ≥ δz_kᵀ M_k δz_k, δz_k the change of layer k
and δs that of the chain's start. Multipliers are found by a closed form and a few steps of descent; what is returned
is proven for them by Cholesky factorisations with all rounding errors: docs/design/0019-scaled.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from scipy.spatial.distance import pdist, squareform
from torch import Tensor

from robench.arrays import Array
from robench.lipschitz.trace.linear import linear_matrix
from robench.lipschitz.trace.nonlinear import Nonlinear
from robench.lipschitz.trace.signals import View
from robench.numerics import binade, gamma, round_up

SIDE, ENTRIES = 2048, 8_000_000
"""Layers of more entries, and maps of more coefficients, end the chain: what is before them counts by its bound."""
STEPS, RATE, LEVEL = 24, 0.1, 1e-4
"""Steps of descent, in the logarithms of the multipliers; slopes below the level do not count, as noise is there."""
WORK = 15_000_000_000
"""Products that all steps together may take."""
NORM_STEPS = 8
DECAY = 0.9, 0.99
UNIT = 2.0**-53
TRIES = 6
HUGE = 2.0**200


@dataclass(frozen=True, eq=False)
class Layer:
    """A linear map as a computed matrix.

    Fields:
        matrix: (m, n).
        error: bound of the norm of its difference from the exact map.
    """

    matrix: Float64[Tensor, "m n"]
    error: float


@dataclass(frozen=True, eq=False)
class ScaledChain:
    """The end of a network: linear, rising, linear, …, rising, linear.

    Fields:
        start: bound of the Lipschitz constant of what the first map is given.
        inner: the maps before a rising function, in order; at least one.
        head: the last map.
    """

    start: float
    inner: tuple[Layer, ...]
    head: Layer


def scaled_chain(output: View) -> ScaledChain | None:
    """The longest such chain that ends in an output; None where not even its last nonlinearity is of that kind."""
    inner: list[Layer] = []
    source = output.signal.source
    if source is output.signal:
        return None
    while isinstance(source, Nonlinear) and source.function.entrywise and source.function.slopes[0] >= 0:
        before = source.inputs[0]
        if len(source.inputs) != 1 or before.size != source.size:
            break
        size = before.signal.source.size
        if source.size > SIDE or source.size * size > ENTRIES:
            break
        inner.append(_steepened(Layer(*linear_matrix(before)), source.function.slope))
        source = before.signal.source
    if not inner:
        return None
    return ScaledChain(source.lipschitz, tuple(reversed(inner)), Layer(*linear_matrix(output)))


def _steepened(layer: Layer, slope: float) -> Layer:
    """A map times the slope of the function after it, which then has slopes between 0 and 1."""
    if slope == 1.0:
        return layer
    matrix = layer.matrix * slope
    return Layer(matrix, round_up(layer.error * slope + 2 * UNIT * _frobenius(matrix), 4))


def scaled_constants(chain: ScaledChain) -> Float64[Array, "q q"] | None:
    """Upper bounds of Lip(f_i − f_j), of one logit Lip(f); None where no proof was found."""
    units = [_unit(layer.matrix) for layer in (*chain.inner, chain.head)]
    *inner, head = (
        Layer(layer.matrix / unit, layer.error / unit * (1 + 4 * UNIT))
        for layer, unit in zip((*chain.inner, chain.head), units, strict=True)
    )
    if not all(_frobenius(layer.matrix) < HUGE for layer in (*inner, head)):
        return None
    form = _proven_form(inner, _multipliers(inner, head.matrix))
    distances = None if form is None else _distances(form, head)
    if distances is None:
        return None
    for factor in (*units, chain.start):  # powers of two, but for the last
        distances = np.nextafter(distances * factor, np.inf)
    return distances if np.isfinite(distances).all() else None


def _unit(matrix: Tensor) -> float:
    """A power of two near the norm of a matrix: where all norms are near 1, no proof has to span large ratios."""
    vector = torch.linalg.vector_norm(matrix, dim=0)
    size = 0.0
    for _ in range(NORM_STEPS):
        size = float(torch.linalg.vector_norm(vector))
        if not 2.0**-500 < size < 2.0**500:
            return 1.0
        vector = matrix.T @ (matrix @ (vector / size))
    return binade(math.sqrt(size))


def _multipliers(inner: Sequence[Layer], head: Tensor) -> list[Tensor]:
    """Multipliers that make the constants small: the best of those on the way of descent from a closed form."""
    matrices = [layer.matrix for layer in inner]
    gram = matrices[0] @ matrices[0].T
    best = _closed_form(gram, matrices)
    work = sum(4 * len(matrix) ** 3 for matrix in matrices)
    steps = min(STEPS, WORK // work)
    if not steps:
        return best
    with torch.enable_grad():
        logs = [multiplier.log().requires_grad_(True) for multiplier in best]
        means, squares = ([torch.zeros_like(log) for log in logs] for _ in range(2))
        lowest = math.inf
        for step in range(1, steps + 2):
            value = _spread(gram, matrices, [log.exp() for log in logs], head)
            if not bool(torch.isfinite(value)):
                break
            if float(value.detach()) < lowest:
                lowest, best = float(value.detach()), [log.detach().exp() for log in logs]
            slopes = torch.autograd.grad(value, logs)
            with torch.no_grad():
                for log, slope, mean, square in zip(logs, slopes, means, squares, strict=True):
                    mean.mul_(DECAY[0]).add_(slope, alpha=1 - DECAY[0])
                    square.mul_(DECAY[1]).add_(slope.square(), alpha=1 - DECAY[1])
                    size = (square / (1 - DECAY[1] ** step)).sqrt() + LEVEL
                    log.sub_(RATE * mean / (1 - DECAY[0] ** step) / size)
    return best


def _closed_form(gram: Tensor, matrices: Sequence[Tensor]) -> list[Tensor]:
    """One multiplier a layer, which makes the smallest eigenvalue of the next form the largest."""
    found: list[Tensor] = []
    for place, matrix in enumerate(matrices):
        largest = float(torch.linalg.eigvalsh(gram)[-1])
        found.append(torch.full((len(matrix),), 2 / max(largest, 2.0**-20), dtype=torch.float64))
        if place + 1 < len(matrices):
            pushed = _pushed(_next(gram, found[-1]), matrices[place + 1])
            if pushed is None:
                return [*found, *(torch.ones(len(rest), dtype=torch.float64) for rest in matrices[place + 1 :])]
            gram = pushed
    return found


def _next(gram: Tensor, multiplier: Tensor) -> Tensor:
    """Λ − ¼ Λ G Λ."""
    following: Tensor = torch.diag(multiplier) - multiplier[:, None] * gram * multiplier / 4
    return following


def _pushed(form: Tensor, matrix: Tensor) -> Tensor | None:
    """W M⁻¹ Wᵀ, about; None where M is not positive definite."""
    factor, failed = torch.linalg.cholesky_ex(form)
    if int(failed):
        return None
    half: Tensor = torch.linalg.solve_triangular(factor, matrix.T, upper=False)
    return half.T @ half


def _spread(gram: Tensor, matrices: Sequence[Tensor], multipliers: Sequence[Tensor], head: Tensor) -> Tensor:
    """Logarithm of the sum of squares of the constants of all pairs, about; not finite where there is no form."""
    form = _next(gram, multipliers[0])
    for matrix, multiplier in zip(matrices[1:], multipliers[1:], strict=True):
        pushed = _pushed(form, matrix)
        if pushed is None:
            return torch.tensor(math.inf)
        form = _next(pushed, multiplier)
    factor, failed = torch.linalg.cholesky_ex(form)
    if int(failed):
        return torch.tensor(math.inf)
    rows = head - head.mean(dim=0) if len(head) > 1 else head
    total: Tensor = torch.linalg.solve_triangular(factor, rows.T, upper=False).square().sum()
    return total.log()


def _proven_form(inner: Sequence[Layer], multipliers: Sequence[Tensor]) -> Tensor | None:
    """A symmetric matrix M with ‖δs‖² ≥ δzᵀ M δz for the last inner layer, proven layer by layer."""
    form = None
    for layer, multiplier in zip(inner, multipliers, strict=True):
        form = _proven_first(layer, multiplier) if form is None else _proven_next(form, layer, multiplier)
        if form is None:
            return None
    return form


def _proven_first(layer: Layer, multiplier: Tensor) -> Tensor | None:
    """M with Λ − M − P Pᵀ ⪰ 0, P = ½ Λ W: what [[1, −Pᵀ], [−P, Λ − M]] ⪰ 0 says."""
    half = _half(layer, multiplier)
    size, off = _frobenius(half), _off(half, multiplier, layer.error)
    gram = half @ half.T
    gram = (gram + gram.T) / 2
    hidden = round_up(gamma(half.shape[1] + 8) * size * size + (2 * size + off) * off, 8)
    for slack in (hidden + 1e-13 * 16.0**attempt * float(multiplier.max()) for attempt in range(TRIES)):
        form = torch.diag(multiplier - 2 * slack) - gram
        rest = torch.diag(multiplier) - form - gram
        if _not_negative(rest, hidden + 4 * UNIT * (_frobenius(form) + _frobenius(gram) + _frobenius(multiplier))):
            return form
    return None


def _proven_next(form: Tensor, layer: Layer, multiplier: Tensor) -> Tensor | None:
    """The next M' with [[M, −Pᵀ], [−P, Λ − M']] ⪰ 0, P = ½ Λ W."""
    half = _half(layer, multiplier)
    hidden = _off(half, multiplier, layer.error) + 4 * UNIT * float(multiplier.max())
    largest = max(float(multiplier.max()), float(torch.diagonal(form).max()))
    sides = len(form)
    for slack in (4 * hidden + 1e-13 * 16.0**attempt * largest for attempt in range(TRIES)):
        lower = form - slack * torch.eye(sides, dtype=torch.float64)
        factor, failed = torch.linalg.cholesky_ex(lower)
        if int(failed):
            continue
        root = torch.linalg.solve_triangular(factor, half.T, upper=False)
        product: Tensor = root.T @ root
        following = torch.diag(multiplier - 2 * slack) - (product + product.T) / 2
        rest = torch.diag(multiplier) - following
        whole = torch.cat((torch.cat((form, -half.T), dim=1), torch.cat((-half, rest), dim=1)))
        if _not_negative(whole, hidden + 4 * UNIT * _frobenius(following)):
            return following
    return None


def _half(layer: Layer, multiplier: Tensor) -> Tensor:
    """½ Λ W."""
    return multiplier[:, None] * layer.matrix / 2


def _off(half: Tensor, multiplier: Tensor, error: float) -> float:
    """How far the computed ½ Λ W is from the exact one, in norm, at most."""
    return round_up(4 * UNIT * _frobenius(half) + float(multiplier.max()) * error, 4)


def _not_negative(matrix: Tensor, hidden: float) -> bool:
    """Whether a symmetric matrix less `hidden` times the identity is proven to be positive semidefinite."""
    size = len(matrix)
    largest = float(torch.diagonal(matrix).abs().max())
    backward = 2 * gamma(4 * (size + 2)) * size * largest
    shift = round_up(hidden + backward + 4 * UNIT * (largest + hidden), 4)
    shifted = matrix - shift * torch.eye(size, dtype=torch.float64)
    return not int(torch.linalg.cholesky_ex(shifted).info)


def _distances(form: Tensor, head: Layer) -> Array | None:
    """‖(w_i − w_j) δz‖ over ‖δs‖, at most, for δzᵀ M δz ≤ ‖δs‖²; of one row its own."""
    size = len(form)
    one = torch.eye(size, dtype=torch.float64)
    least = float(torch.linalg.eigvalsh(form)[0]) / 2
    if not least > 0 or not _not_negative(form - least * one, 4 * UNIT * _frobenius(form)):
        return None
    backward = 2 * gamma(4 * (size + 2)) * size * float(torch.diagonal(form).max())
    shift = round_up(backward + 4 * UNIT * _frobenius(form), 4)
    factor, failed = torch.linalg.cholesky_ex(form - shift * one)
    if int(failed):
        return None
    rows = torch.linalg.solve_triangular(factor, head.matrix.T, upper=False).T.contiguous()
    left = torch.linalg.vector_norm(head.matrix - rows @ factor.T, dim=1)
    left = left + gamma(size + 8) * torch.linalg.vector_norm(rows, dim=1) * _frobenius(factor) + head.error
    left = (left * 1.01 / math.sqrt(least)).numpy()
    inflate = 1 + gamma(size + 16)
    if len(rows) == 1:
        return np.full((1, 1), round_up(float(torch.linalg.vector_norm(rows)) * inflate + float(left[0]), 2))
    apart: Array = squareform(pdist(rows.numpy()))
    distances: Array = (apart * inflate + left[:, None] + left) * (1 + 2.0**-50)
    np.fill_diagonal(distances, 0.0)
    return distances


def _frobenius(tensor: Tensor) -> float:
    """An upper bound of the Frobenius norm, and so of the spectral one."""
    return float(torch.linalg.vector_norm(tensor)) * (1 + gamma(tensor.numel() + 4))

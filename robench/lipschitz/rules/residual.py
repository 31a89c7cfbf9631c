"""Residual blocks p x + V φ(A x + b), bounded as a whole.

V near −Aᵀ D with D ≥ 0 diagonal has a closed form, for matrices and convolutions; small blocks of any other kind are
bounded by multipliers. docs/design/0015-residual-blocks.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from robench.lipschitz.norms.linear import Diagonal, LinearOp
from robench.lipschitz.norms.multipliers import UNIT, block_slope_upper
from robench.lipschitz.norms.rounding import vector_norm_upper
from robench.lipschitz.norms.taps import Taps, best_scales, taps_of
from robench.lipschitz.trace.linear import Linear, linear_matrix
from robench.lipschitz.trace.nonlinear import Nonlinear
from robench.lipschitz.trace.signals import Block, Signal, View
from robench.numerics import gamma, round_up

DENSE_SIDE = 320
"""Inputs and hidden units together, up to which multipliers are looked for."""
SORTS = ("groupsort2", "sort", "maxmin")
"""Operations that write what they have sorted to the places that they read."""
MATRIX_SIDE, MATRIX_ENTRIES = 800, 4_000_000
"""Sides up to which a map that is no plain matrix or convolution is written down as a matrix."""


def residual_block(skip: View, branch: View, weights: tuple[float, float]) -> Block | None:
    """The residual block that `weights[0]`·skip + `weights[1]`·branch is, with a bound of its constant.

    Args:
        skip: a linear function of x.
        branch: a linear function of φ(A x + b).
        weights: factors of the two.

    Returns:
        None if the sum is no such block, or a large one of another kind.
    """
    bend, source = branch.signal.source, skip.signal.source
    if not isinstance(bend, Nonlinear) or bend is source:
        return None
    alone = bend.function.entrywise and len(bend.inputs) == 1
    if not alone and sorted_pairs(bend) is None:
        return None
    if any(view.signal.source is not source for view in bend.inputs):
        return None
    given = _given(skip, bend.inputs[0]) if len(bend.inputs) == 1 else None
    if given is not None and alone:
        slope = _symmetric(given, bend.inputs[0], branch, (weights[0] * given.share, weights[1]))
        if slope is not None:
            return Block(given.view, slope)
    start = given.view.signal if given is not None and given.view.whole else source
    if start.size + bend.size > DENSE_SIDE:
        return None
    return Block(start.whole, general_block(skip, branch, weights, start))


class _Given(NamedTuple):
    """The view x that a block starts from, p of its skip p x, and the operations of A x."""

    view: View
    share: float
    steps: list[LinearOp]


def _given(skip: View, before: View) -> _Given | None:
    """What a block starts from, if its skip is p x: the skip itself, or what is left of it without factors."""
    view, share = skip, 1.0
    for _ in range(4):
        steps = _steps(before, view)
        if steps is not None:
            return _Given(view, share, steps)
        signal = view.signal
        if not view.whole or not isinstance(signal, Linear):
            return None
        if not isinstance(signal.op, Diagonal) or signal.op.factors.dim() > 0:
            return None
        view, share = signal.view, share * float(signal.op.factors)
    return None


def _steps(view: View, start: View) -> list[LinearOp] | None:
    """The linear operations from one view to another, the first one first; None where entries are moved between."""
    steps: list[LinearOp] = []
    while not (view.signal is start.signal and torch.equal(view.flat_index, start.flat_index)):
        signal = view.signal
        if not view.whole or not isinstance(signal, Linear):
            return None
        steps.append(signal.op)
        view = signal.view
    return steps[::-1]


def _symmetric(given: _Given, before: View, branch: View, weights: tuple[float, float]) -> float | None:
    """Of p x − V φ(A x + b) with V near Aᵀ D: the Jacobian is symmetric up to what is left of V − Aᵀ D.

    Args:
        given: x, and the operations of A x.
        before: A x.
        branch: V φ.
        weights: p, and the factor of V.
    """
    bend = branch.signal.source
    assert isinstance(bend, Nonlinear)
    inner, outer = _matrices(given, before, branch)
    if inner is None or outer is None:  # too large for a matrix
        after = _steps(branch, bend.whole)
        if after is None:
            return None
        inner = taps_of(given.steps, given.view.size, adjoint=False)
        outer = taps_of(after, bend.size, adjoint=True)
        if inner is None or outer is None or not inner.like(outer):
            return None
    lowest, largest = bend.function.slopes
    enough = math.sqrt(2 * max(0.0, weights[0]) / largest) if lowest >= 0 and largest > 0 else 0.0
    found = _near_adjoint(inner, outer, -weights[1], enough)
    if found is None:
        return None
    square, left = found
    ends = (weights[0] - max(0.0, largest) * square, weights[0] - min(0.0, lowest) * square)
    size = max(map(abs, (weights[0], *ends))) * (1 + 16 * UNIT)
    return round_up(size + max(abs(lowest), abs(largest)) * left, 8)


def _matrices(given: _Given, before: View, branch: View) -> tuple[Taps | None, Taps | None]:
    """Both maps as matrices, where these are small."""
    sides = given.view.size, branch.signal.source.size
    if not given.view.whole or min(sides) > MATRIX_SIDE or sides[0] * sides[1] > MATRIX_ENTRIES:
        return None, None
    inner, inner_error = linear_matrix(before, given.view.signal)
    outer, outer_error = linear_matrix(branch)
    return Taps(inner[None], off=inner_error), Taps(outer.T[None], off=outer_error)


def _near_adjoint(inner: Taps, outer: Taps, factor: float, enough: float) -> tuple[float, float] | None:
    """‖D^½ A‖² and a bound of ‖V − Aᵀ D‖‖A‖, all errors included, for the best D ≥ 0; None if much is left of V.

    Args:
        inner: A.
        outer: Vᵀ.
        factor: of V.
        enough: ‖D^½ A‖ that needs no better bound.
    """
    kernel, wanted = inner.kernel, factor * outer.kernel
    roots = (best_scales(inner, outer) * factor).clamp_min(0.0).sqrt()
    if not bool(roots.isfinite().all()):
        return None
    product = inner.spread(roots.square()) * kernel
    size, wanted_size = inner.size(kernel), inner.size(wanted)
    rest = inner.size(wanted - product) + 8 * UNIT * (wanted_size + inner.size(product))
    rest += abs(factor) * outer.error + 4 * UNIT * wanted_size
    left = rest * size + (wanted_size + abs(factor) * outer.error) * inner.error
    if not left < min(1.0, 0.5 * wanted_size * size):
        return None
    scaled = inner.spread(roots) * kernel
    norm = inner.norm(scaled, enough) + 4 * UNIT * inner.size(scaled)
    return round_up(norm * norm, 4), round_up(left * (1 + gamma(16)), 4)


def sorted_pairs(bend: Nonlinear) -> Tensor | None:
    """Positions (pairs, 2) of what a sort of pairs reads and writes, all entries once; None of other functions."""
    function = bend.function
    if function.operation not in SORTS or function.groups is None:
        return None
    positions = function.groups()
    each = positions.flatten().sort().values
    return positions if positions.shape[1] == 2 and torch.equal(each, torch.arange(bend.size)) else None


def general_block(
    skip: View | None,
    branch: View,
    weights: tuple[float, float],
    start: Signal,
    multipliers: Tensor | None = None,
) -> float:
    """Of a block of small matrices: by multipliers, the errors of the matrices included.

    Args:
        skip: P x; None for 0.
        branch: V φ(A x + b).
        weights: factors of skip and branch.
        start: x.
        multipliers: up to a factor, if they are known.
    """
    bend = branch.signal.source
    assert isinstance(bend, Nonlinear)
    parts = [linear_matrix(view, start) for view in bend.inputs]
    inner, inner_error = torch.cat([matrix for matrix, _ in parts]), math.fsum(error for _, error in parts)
    outer, outer_error = linear_matrix(branch)
    plain, plain_error = (torch.zeros(1, 1).double(), 0.0) if skip is None else linear_matrix(skip, start)
    lowest, largest = (torch.full((bend.size,), slope, dtype=torch.float64) for slope in bend.function.slopes)
    pairs = sorted_pairs(bend)
    if pairs is not None:  # the sum of a pair stays, the absolute value of its difference is taken
        inner, outer = _turned(inner, pairs), _turned(outer.T, pairs).T
        lowest = torch.cat((torch.ones(len(pairs)), -torch.ones(len(pairs)))).double()
        inner_error += 8 * UNIT * vector_norm_upper(inner)
        outer_error += 8 * UNIT * vector_norm_upper(outer)
    sizes = [vector_norm_upper(matrix) for matrix in (plain, inner, outer)]
    steepest = max(map(abs, bend.function.slopes))
    errors = abs(weights[0]) * (plain_error + 2 * UNIT * sizes[0])
    outer_error += 2 * UNIT * sizes[2]
    errors += abs(weights[1]) * steepest * (outer_error * sizes[1] + (sizes[2] + outer_error) * inner_error)
    return round_up(
        block_slope_upper(weights[0] * plain[None], weights[1] * outer[None], inner[None], lowest, largest, multipliers)
        + errors,
        8,
    )


def _turned(rows: Tensor, pairs: Tensor) -> Tensor:
    """Of the rows of each pair, the sum and the difference over √2: a rotation, and the order of units is another."""
    first, second = rows[pairs[:, 0]], rows[pairs[:, 1]]
    return torch.cat((first + second, second - first)) * math.sqrt(0.5)

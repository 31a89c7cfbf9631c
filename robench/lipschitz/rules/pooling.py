"""Rules for pooling and interpolation, with overlap, padding, partial windows and `ceil_mode`.

All of them act on each spatial axis by itself, so their exact norms come from one small matrix an axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from robench.lipschitz.norms.linear import schur_bound
from robench.lipschitz.norms.rounding import UNITS, Growth, Slack
from robench.lipschitz.norms.windows import Separable, Window
from robench.lipschitz.rules.axes import per_axis
from robench.lipschitz.trace.nonlinear import Function
from robench.lipschitz.trace.signals import BATCH, View
from robench.lipschitz.trace.trace import Call
from robench.lipschitz.trace.values import Squares, Unusable, Value
from robench.numerics import round_up


def _axes(call: Call) -> int:
    return int(next(character for character in call.operation if character.isdigit()))


def _result(call: Call) -> Tensor:
    result: Tensor = call.zero[0] if isinstance(call.zero, list | tuple) else call.zero
    return result


def _apply(call: Call, op: Separable) -> Value:
    """The operation on a signal, or on the squares that wait for their root."""
    value = call.args[0]
    if isinstance(value, Squares):
        if any(bool((matrix < 0).any()) for matrix in op.matrices):
            raise call.refusal("it makes a sum of squares negative")
        return value.weighted(_result(call), op.column_sum, op.row_sum, op.terms)
    if len(call.view().shape) != len(op.matrices) + 2:
        raise call.refusal("it has no batch axis")
    return call.trace.linear(call.view(), op, _result(call))


def average_pool(call: Call) -> Value:
    """Means over windows."""
    axes = _axes(call)
    kernel = per_axis(call.args[1], axes)
    stride = per_axis(call.get("stride", 2) or kernel, axes)
    padding = per_axis(call.get("padding", 3, 0), axes)
    include = bool(call.get("count_include_pad", 5, True))
    override = call.get("divisor_override", 6)
    sizes = call.args[0].zero.shape[-axes:]
    outputs = _result(call).shape[-axes:]
    matrices = []
    whole = True
    for n, m, k, s, p in zip(sizes, outputs, kernel, stride, padding, strict=True):
        matrix = torch.zeros(m, n, dtype=torch.float64)
        for row in range(m):
            start = row * s - p
            end = min(start + k, n + p)
            inside = range(max(start, 0), min(end, n))
            divisor = 1 if override is not None else end - start if include else len(inside)
            matrix[row, inside.start : inside.stop] = 1.0 / divisor
            whole = whole and len(inside) == k
        matrices.append(matrix)
    if override is not None:
        matrices[0] = matrices[0] / override
    window = None
    if whole and _result(call).shape[0] == BATCH:  # positions are not merged into the batch
        divisor = math.prod(kernel) if override is None else override
        taps = torch.full(kernel, 1.0 / divisor, dtype=torch.float64)
        window = Window(taps, stride, _result(call).shape[1])
    return _apply(call, Separable(tuple(matrices), "avg_pool", window))


def adaptive_average_pool(call: Call) -> Value:
    """Means over windows that share the axis out evenly."""
    axes = _axes(call)
    sizes, outputs = call.args[0].zero.shape[-axes:], _result(call).shape[-axes:]
    matrices = []
    for n, m in zip(sizes, outputs, strict=True):
        matrix = torch.zeros(m, n, dtype=torch.float64)
        for row in range(m):
            start, end = row * n // m, -(-(row + 1) * n // m)
            matrix[row, start:end] = 1.0 / (end - start)
        matrices.append(matrix)
    return _apply(call, Separable(tuple(matrices), "avg_pool"))


def max_pool(call: Call) -> Value:
    """Maxima over windows: √(largest number of windows that share an entry)."""
    axes = _axes(call)
    kernel = per_axis(call.args[1], axes)
    stride = per_axis(call.get("stride", 2) or kernel, axes)
    padding = per_axis(call.get("padding", 3, 0), axes)
    dilation = per_axis(call.get("dilation", 4, 1), axes)
    sizes, outputs = call.args[0].zero.shape[-axes:], _result(call).shape[-axes:]
    shared = 1
    for n, m, k, s, p, d in zip(sizes, outputs, kernel, stride, padding, dilation, strict=True):
        counts = [0] * n
        for row in range(m):
            for position in range(row * s - p, row * s - p + d * k, d):
                if 0 <= position < n:
                    counts[position] += 1
        shared *= max(counts)

    def windows() -> list[list[list[int]]]:
        sides = zip(sizes, outputs, kernel, stride, padding, dilation, strict=True)
        return [
            [[i for i in range(row * s - p, row * s - p + d * k, d) if 0 <= i < n] for row in range(m)]
            for n, m, k, s, p, d in sides
        ]

    return _maximum(call, shared, windows)


def adaptive_max_pool(call: Call) -> Value:
    """Maxima over windows that share the axis out evenly."""
    axes = _axes(call)
    sizes, outputs = call.args[0].zero.shape[-axes:], _result(call).shape[-axes:]
    shared = 1
    for n, m in zip(sizes, outputs, strict=True):
        counts = [0] * n
        for row in range(m):
            for position in range(row * n // m, -(-(row + 1) * n // m)):
                counts[position] += 1
        shared *= max(counts)

    def windows() -> list[list[list[int]]]:
        return [
            [list(range(row * n // m, -(-(row + 1) * n // m))) for row in range(m)]
            for n, m in zip(sizes, outputs, strict=True)
        ]

    return _maximum(call, shared, windows)


def _maximum(call: Call, shared: int, windows: Callable[[], list[list[list[int]]]]) -> Value:
    """The signal of maxima.

    Args:
        call: the operation.
        shared: largest number of windows that share an entry.
        windows: for each axis, the positions in each window.
    """
    slope = 1.0 if shared <= 1 else round_up(math.sqrt(shared))
    view = call.view()
    function = Function("max_pool", slope, groups=lambda: _positions(view, windows()))
    result = call.trace.overlapping(function, [view], _result(call))
    if isinstance(call.zero, list | tuple):
        return [result, Unusable(call.zero[1], "the position of a maximum, which is not continuous")]
    return result


def _positions(view: View, windows: list[list[list[int]]]) -> Tensor:
    """Positions (windows, members) in one sample; smaller windows hold their first member several times."""
    axes = len(windows)
    positions = torch.arange(view.size).reshape(-1, *view.shape[-axes:])
    for axis, members in enumerate(windows):
        longest = max(map(len, members))
        padded = torch.tensor([one + one[:1] * (longest - len(one)) for one in members])
        shape = (*positions.shape[: 2 * axis + 1], *padded.shape, *positions.shape[2 * axis + 2 :])
        positions = positions.index_select(2 * axis + 1, padded.reshape(-1)).reshape(shape)
    order = (0, *range(1, 2 * axes + 1, 2), *range(2, 2 * axes + 1, 2))
    return positions.permute(order).flatten(axes + 1).flatten(0, axes)


def interpolate(call: Call) -> Value:
    """Linear interpolation along each axis."""
    axes = _axes(call)
    align = bool(call.get("align_corners", 2, False))
    sizes, outputs = call.args[0].zero.shape[-axes:], _result(call).shape[-axes:]
    matrices = [_interpolation(n, m, align) for n, m in zip(sizes, outputs, strict=True)]
    return _interpolated(call, matrices, LINEAR)


def interpolate_cubic(call: Call) -> Value:
    """Cubic interpolation along each of two axes: its weights may be negative."""
    align = bool(call.get("align_corners", 2, False))
    sizes, outputs = call.args[0].zero.shape[-2:], _result(call).shape[-2:]
    matrices = [_cubic(n, m, align) for n, m in zip(sizes, outputs, strict=True)]
    return _interpolated(call, matrices, CUBIC)


class _Kernel(NamedTuple):
    """What a rounded place does to the weights of an interpolation.

    Fields:
        reach: how many pixels from those in use the pixels may lie that a place next to it uses.
        slope: largest change of a weight with its place.
        units: roundings of a weight itself.
    """

    reach: int
    slope: float
    units: float


LINEAR = _Kernel(1, 1.0, 0.0)
CUBIC = _Kernel(2, 1.36, 256.0)
"""a = −3/4: (a + 2)t³ − (a + 3)t² + 1 has slopes up to 1.35; the terms of a weight are below 16, in 12 roundings."""


def _interpolated(call: Call, matrices: list[Tensor], kernel: _Kernel) -> Value:
    """The map of one matrix an axis, if the operation is that."""
    sizes = [matrix.shape[1] for matrix in matrices]
    probe = torch.arange(1, math.prod(sizes) + 1, dtype=torch.float64).reshape(1, 1, *sizes)
    op = Separable(tuple(matrices), "interpolate")
    expected = call.target(probe, *call.args[1:], **call.kwargs).reshape(1, -1)
    if not torch.allclose(op.apply(probe.reshape(1, -1)), expected, rtol=1e-9):
        raise call.refusal("its scale factors do not follow from its sizes")
    slack = Slack(units=Growth(_misplaced(matrices, kernel), 0.0))
    return call.trace.linear(call.view(), op, _result(call), slack=slack)


def _misplaced(matrices: list[Tensor], kernel: _Kernel) -> float:
    """How far the operation is off in unit roundoffs, as the places that it interpolates at are rounded.

    A place on an axis of n is computed from its index in at most 3 roundings of numbers up to n + 1. The interpolant is
    continuous and piecewise smooth, so a weight changes by its slope times as much as the place at most, at the pixels
    in use or, if the place crosses one, at the next; over several axes
    (M + D) ⊗ (N + E) − M ⊗ N = D ⊗ (N + E) + M ⊗ E.
    """
    total, whole = 0.0, 1.0
    for matrix in matrices:
        near = functional.max_pool1d((matrix != 0).double()[None], 2 * kernel.reach + 1, 1, kernel.reach)[0]
        moved = (4.0 * kernel.slope * (matrix.shape[1] + 2) + kernel.units) * schur_bound(
            float(near.sum(1).max()), float(near.sum(0).max()), 1
        )
        size = schur_bound(float(matrix.abs().sum(1).max()), float(matrix.abs().sum(0).max()), max(matrix.shape))
        total, whole = round_up(total * (size + moved * UNITS["float32"]) + whole * moved, 4), round_up(whole * size)
    return total


def _interpolation(size: int, output: int, align: bool) -> Tensor:
    basis = torch.eye(size, dtype=torch.float64)[None]
    return functional.interpolate(basis, size=output, mode="linear", align_corners=align)[0].T.contiguous()


def _cubic(size: int, output: int, align: bool) -> Tensor:
    basis = torch.eye(size, dtype=torch.float64)[None, :, :, None]
    found = functional.interpolate(basis, size=(output, 1), mode="bicubic", align_corners=align)
    return found[0, :, :, 0].T.contiguous()

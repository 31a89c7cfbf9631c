"""The rule for sampling images at a constant grid of places: one matrix for all channels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robench.lipschitz.norms.linear import Dense
from robench.lipschitz.norms.rounding import Growth, Slack
from robench.lipschitz.trace.trace import Call
from robench.lipschitz.trace.values import Value, depends
from robench.numerics import round_up

aten = torch.ops.aten

ENTRIES = 1 << 24
"""Of the matrix, at most."""
LINEAR, NEAREST = 0, 1
APART = 1e-9
"""Of the side of an image: how far places are from where the nearest pixel is another one, at least."""


def sample(call: Call) -> Value:
    """Linear, nearest or cubic interpolation at the places of a grid."""
    if depends(call.args[1]):
        raise call.refusal("its places depend on the input, and robench knows sampling at constant places only")
    view, grid = call.view(), call.constant(call.args[1], "grid")
    if not bool((grid == grid[:1]).all()):
        raise call.refusal("its places differ from sample to sample")
    inputs, outputs = (math.prod(shape[2:]) for shape in (view.shape, call.zero.shape))
    if inputs * outputs > ENTRIES:
        raise call.refusal(f"its matrix of {inputs} x {outputs} pixels is too large")
    matrix = _matrix(call, grid, view.shape[2:])
    if call.args[2] == NEAREST and not _settled(call, grid, matrix, view.shape[2:]):
        raise call.refusal("a place is as near to one pixel as to another, where rounding decides")
    call.trace.refuse_float32("places of a grid are rounded there")
    flat = call.trace.call(aten.flatten.using_ints, view, 2, -1)
    slack = Slack(units=Growth(_misplaced(matrix, view.shape[2:]), 0.0))
    result = call.trace.linear(flat, Dense(matrix, "grid_sample"), call.zero.flatten(2), slack=slack)
    return call.trace.call(aten.view.default, result, list(call.zero.shape))


def _matrix(call: Call, grid: Tensor, sides: tuple[int, ...]) -> Tensor:
    """(pixels of the result, pixels of the image): what each pixel alone becomes."""
    count = math.prod(sides)
    pixels = torch.eye(count, dtype=torch.float64).reshape(count, 1, *sides)
    found: Tensor = call.target(pixels, grid[:1].expand(count, *grid.shape[1:]), *call.args[2:], **call.kwargs)
    return found.reshape(count, -1).T.contiguous()


def _settled(call: Call, grid: Tensor, matrix: Tensor, sides: tuple[int, ...]) -> bool:
    """Whether places next to these have the same nearest pixels."""
    axes = len(sides)
    return all(
        torch.equal(matrix, _matrix(call, grid + APART * torch.tensor(step, dtype=torch.float64), sides))
        for step in torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * axes).tolist()
    )


def _misplaced(matrix: Tensor, sides: tuple[int, ...]) -> float:
    """How far the operation is off in unit roundoffs, as the places are rounded.

    A place on an axis of n comes from its number in at most 6 roundings of numbers up to 2 n, reflected ones included.
    A weight is a product of one of each axis, each at most 1.3 with slopes up to 1.36, at the 5 pixels of an axis that
    a place or its neighbour uses; it rounds itself, and up to 4 of an axis come to one pixel by reflection. By
    Frobenius' norm over all places.
    """
    axes = len(sides)
    weight = axes * 1.3 ** (axes - 1) * (1.36 * 12.0 * (max(sides) + 2) + 256.0)
    return round_up(weight * 4.0**axes * math.sqrt(5.0**axes * len(matrix)), 4)

"""Two linear operations, one after the other, as one: exactly, where that is cheap."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

from torch import Tensor

from robench.lipschitz.norms.linear import Dense, Diagonal, LinearOp
from robench.lipschitz.norms.torus import Geometry
from robench.lipschitz.norms.windows import TRANSPOSED, Convolution, Separable, Window

LARGEST = 1 << 21
"""Entries of the kernel of two convolutions."""


def join(second: LinearOp, first: LinearOp) -> LinearOp | None:
    """`second ∘ first` as one operation; None where there is none, or a large one."""
    match second, first:
        case Diagonal(), Diagonal():
            joint = Diagonal(second.factors * first.factors, _named(first, second))
            joint.terms = second.terms + first.terms + 2
            return joint
        case Diagonal(), Dense() if second.factors.numel() in (1, first.weight.shape[0]):
            joined = Dense(second.factors.reshape(-1, 1) * first.weight, _named(first, second))
            joined.terms = first.terms + second.terms + 2
            return joined
        case Diagonal(), Convolution():
            return _scaled_outputs(second, first)
        case Convolution(), Diagonal():
            return _scaled_inputs(second, first)
        case Convolution(), Convolution() if not any(map(any, second.padding)):
            return _convolutions(second, first)
        case Separable(window=Window() as window), Convolution():
            return _convolutions(_depthwise(second, window), first)
    return None


def _named(first: LinearOp, second: LinearOp) -> str:
    return f"{first.operation}+{second.operation}"


def _scaled_outputs(scale: Diagonal, convolution: Convolution) -> LinearOp | None:
    """Factors that are equal within a channel, of what a convolution gives."""
    groups, out = convolution.kernel.shape[:2]
    factors = scale.by_channel(convolution.lead, groups * out)
    if factors is None:
        return None
    shaped = factors.reshape(groups, out, 1, *(1 for _ in convolution.geometry.size))
    return _with_kernel(convolution, convolution.kernel * shaped, _named(convolution, scale))


def _scaled_inputs(convolution: Convolution, scale: Diagonal) -> LinearOp | None:
    """Factors that are equal within a channel, of what a convolution is given."""
    groups, _, inner = convolution.kernel.shape[:3]
    factors = scale.by_channel(convolution.lead, groups * inner)
    if factors is None:
        return None
    shaped = factors.reshape(groups, 1, inner, *(1 for _ in convolution.geometry.size))
    return _with_kernel(convolution, convolution.kernel * shaped, _named(scale, convolution))


def _with_kernel(convolution: Convolution, kernel: Tensor, operation: str) -> Convolution:
    joint = replace(convolution, kernel=kernel, operation=operation)
    joint.terms = convolution.terms + 8
    return joint


def _depthwise(pooling: Separable, window: Window) -> Convolution:
    """Pooling as the convolution that it is."""
    axes, sides = window.taps.dim(), tuple(matrix.shape[1] for matrix in pooling.matrices)
    return Convolution(
        window.taps.expand(window.channels, 1, 1, *window.taps.shape),
        Geometry(sides, window.stride, (1,) * axes),
        ((0, 0),) * axes,
        1,
        tuple(matrix.shape[0] for matrix in pooling.matrices),
        operation=pooling.operation,
    )


def _convolutions(second: Convolution, first: Convolution) -> LinearOp | None:
    """Two convolutions of which the second has no padding."""
    if first.geometry.circular or any(d != 1 for d in second.geometry.dilation + first.geometry.dilation):
        return None
    if (first.lead, first.output_size) != (second.lead, second.geometry.size):
        return None  # reshaped in between
    (groups, out, own), inner = second.kernel.shape[:3], ungrouped(first.kernel)
    if groups * own != inner.shape[0]:
        return None
    taps = second.kernel.shape[3:]
    sides = [a + s * (b - 1) for a, b, s in zip(inner.shape[2:], taps, first.geometry.stride, strict=True)]
    if groups * out * inner.shape[1] * math.prod(sides) > LARGEST:
        return None
    # K(o, i, t + s u) = sum over m of outer(o, m, u) inner(m, i, t): a transposed convolution of the kernels
    if out == own == 1:  # each channel for itself: as many products as there are taps
        kernel = inner.new_zeros(*inner.shape[:2], *sides)
        for number, place in enumerate(itertools.product(*map(range, taps))):
            starts = [s * u for s, u in zip(first.geometry.stride, place, strict=True)]
            window = [slice(at, at + side) for at, side in zip(starts, inner.shape[2:], strict=True)]
            part: tuple[Any, ...] = (..., *window)
            column = second.kernel.flatten(3)[:, 0, 0, number]
            kernel[part] += inner * column.reshape(-1, *[1] * (inner.dim() - 1))
    else:
        kernel = TRANSPOSED[len(sides)](ungrouped(second.kernel), inner, stride=first.geometry.stride)
    stride = tuple(a * b for a, b in zip(first.geometry.stride, second.geometry.stride, strict=True))
    geometry = Geometry(first.geometry.size, stride, (1,) * len(sides), padding=first.padding)
    joint = Convolution(
        kernel[None], geometry, first.padding, first.lead, second.output_size, operation=_named(first, second)
    )
    joint.terms = first.terms + second.terms
    return joint


def ungrouped(kernel: Tensor) -> Tensor:
    """(groups, o, i, *taps) as one (groups·o, groups·i, *taps) kernel with zeros between the groups."""
    groups, out, inner = kernel.shape[:3]
    full = kernel.new_zeros(groups, out, groups, inner, *kernel.shape[3:])
    for group in range(groups):
        full[group, :, group] = kernel[group]
    return full.reshape(groups * out, groups * inner, *kernel.shape[3:])

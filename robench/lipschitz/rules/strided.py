"""Residual blocks P x + V φ(A x + b) of convolutions with zero padding, P and V of one stride: as a whole, on a torus.

docs/design/0015-residual-blocks.md §3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from robench.lipschitz.norms.joining import ungrouped
from robench.lipschitz.norms.linear import Diagonal
from robench.lipschitz.norms.rounding import vector_norm_upper
from robench.lipschitz.norms.torus import Torus
from robench.lipschitz.norms.windows import Convolution
from robench.lipschitz.rules.symbols import Symbols, block_upper, channel_factors, factors_up_to
from robench.lipschitz.trace.linear import Linear
from robench.lipschitz.trace.nonlinear import Nonlinear
from robench.lipschitz.trace.signals import BATCH, Block, Signal, View
from robench.numerics import gamma, round_up

SIDE, ENTRIES = 256, 30_000_000
"""Most inputs and units of one frequency together, and numbers of the matrices of all frequencies."""


def strided_block(skip: View, branch: View, weights: tuple[float, float]) -> Block | None:
    """The block that `weights[0]`·skip + `weights[1]`·branch is, with a bound of its constant.

    Units outside of the image are there on the torus, and stand still: 0 must be among the slopes, or is added to them.

    Args:
        skip: P x, a convolution of x.
        branch: V φ(A x + b), convolutions too.
        weights: factors of the two.

    Returns:
        None if the sum is no such block, or a large one.
    """
    bend = branch.signal.source
    if not isinstance(bend, Nonlinear) or not bend.function.entrywise or len(bend.inputs) != 1:
        return None
    outer = _convolved(branch, bend)
    inner = _convolved(bend.inputs[0], None)
    plain = _convolved(skip, None)
    if inner is None or outer is None or plain is None or not inner.view.same_as(plain.view):
        return None
    if not _fit(inner, outer, plain):
        return None
    stride = outer.op.geometry.stride
    torus = _torus((inner, outer, plain), stride)
    aliases, waves = math.prod(stride), torus.frequencies()
    channels, units = inner.kernel.shape[1], inner.kernel.shape[0]
    side = aliases * (channels + units)
    if side > SIDE or len(waves) * side**2 > ENTRIES:
        return None
    first = _on_torus(inner, torus, waves, spread=True)
    second, straight = (_on_torus(item, torus, waves, spread=False) for item in (outer, plain))
    multipliers = _multipliers(first.matrices, second.matrices, aliases)
    if multipliers is None:
        return None
    ends = min(0.0, bend.function.slopes[0]), max(0.0, bend.function.slopes[1])
    parts = straight.weighted(weights[0]), second.weighted(weights[1]), first
    return Block(inner.view, block_upper(*parts, ends, multipliers))


class _Convolved(NamedTuple):
    """A convolution of a view, with factors for each channel after and before it in its kernel.

    Fields:
        view: what it is given.
        op: the convolution.
        kernel: (out, in, *taps) with the factors, without groups.
        roundings: that an entry of the kernel took.
    """

    view: View
    op: Convolution
    kernel: Tensor
    roundings: int


def _convolved(view: View, start: Signal | None) -> _Convolved | None:
    """The operations up to a view, if they are one convolution with zero padding and factors.

    Args:
        view: where they end.
        start: where they begin, factors before the convolution included; None for what the convolution is given.
    """
    after, signal = factors_up_to(view)
    if not isinstance(signal, Linear) or not isinstance(signal.op, Convolution):
        return None
    op, given = signal.op, signal.view
    if op.geometry.circular or op.lead != 1 or given.shape[0] != BATCH or any(d != 1 for d in op.geometry.dilation):
        return None
    before: Sequence[Diagonal] = ()
    if start is not None:
        before, begins = factors_up_to(given)
        if begins is not start:
            return None
    kernel = ungrouped(op.kernel)
    rows, columns = channel_factors(after, kernel.shape[0]), channel_factors(before, kernel.shape[1])
    if rows is None or columns is None:
        return None
    tail = [1] * (kernel.dim() - 2)
    scaled = kernel * rows.reshape(-1, 1, *tail) * columns.reshape(1, -1, *tail)
    return _Convolved(given, op, scaled, len(after) + len(before) + 2)


def _fit(inner: _Convolved, outer: _Convolved, plain: _Convolved) -> bool:
    """Whether A has stride 1, P and V have one stride, and V is given what A makes, in the same images."""
    geometries = [item.op.geometry for item in (inner, outer, plain)]
    return (
        all(step == 1 for step in geometries[0].stride)
        and geometries[1].stride == geometries[2].stride
        and geometries[1].size == inner.op.output_size
        and outer.kernel.shape[1] == inner.kernel.shape[0]
        and outer.kernel.shape[0] == plain.kernel.shape[0]
        and outer.op.output_size == plain.op.output_size
    )


def _torus(parts: Sequence[_Convolved], stride: tuple[int, ...]) -> Torus:
    """One on which no window of any of them meets an image on both of its ends."""
    sides = []
    for axis, step in enumerate(stride):
        sizes = [item.op.geometry.size[axis] for item in parts]
        reaches = [item.kernel.shape[2 + axis] - 1 + sum(item.op.padding[axis]) for item in parts]
        sides.append(step * math.ceil((max(sizes) + 2 * max(reaches)) / step))
    first = parts[0]
    return Torus(tuple(first.kernel.shape[2:]), replace(first.op.geometry, stride=stride), tuple(sides))


def _on_torus(item: _Convolved, torus: Torus, waves: Tensor, *, spread: bool) -> Symbols:
    """One matrix a coarse frequency, from all its aliases, or between them.

    Args:
        item: the convolution.
        torus: with the stride of the block.
        waves: coarse frequencies.
        spread: it has stride 1 and leads from each alias to itself; else it folds the aliases into one, divided by the
            root of their number.
    """
    out, inner, *taps = item.kernel.shape
    own = replace(torus, taps=tuple(taps))
    start = torch.tensor([[-before for before, _ in item.op.padding]])
    phases = own.phases(waves) * own.turns(waves, start)  # (f, aliases, taps)
    flat = item.kernel.flatten(2).permute(2, 0, 1).flatten(1).to(torch.complex128)
    symbols = (phases @ flat).reshape(len(waves), -1, out, inner)
    aliases = symbols.shape[1]
    if spread:
        matrices = symbols.new_zeros(len(waves), aliases, out, aliases, inner)
        for alias in range(aliases):
            matrices[:, alias, :, alias] = symbols[:, alias]
        matrices = matrices.reshape(len(waves), aliases * out, aliases * inner)
    else:
        matrices = symbols.permute(0, 2, 1, 3).reshape(len(waves), out, aliases * inner) / math.sqrt(aliases)
    entries = item.kernel.abs().flatten(2).sum(2)  # no entry of a symbol is larger
    error = gamma(8 * (math.prod(taps) + item.roundings + 32)) * vector_norm_upper(entries)
    return Symbols(matrices, round_up(error, 4))


def _multipliers(inner: Tensor, outer: Tensor, aliases: int) -> Tensor | None:
    """Up to a factor: how long the columns of V are beside the rows of A, the same for all aliases of a unit."""
    columns, rows = (
        part.abs().square().sum((0, axis)).reshape(aliases, -1).sum(0) for part, axis in ((outer, 1), (inner, 2))
    )
    if not bool((columns > 0).all() and (rows > 0).all()):
        return None
    return (columns / rows).sqrt().repeat(aliases)

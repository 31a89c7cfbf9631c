"""Sandwich layers V φ(A x + b) with factors before and after φ, bounded as a whole: of matrices, and on a torus.

docs/design/0015-residual-blocks.md §3.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from robench.lipschitz.norms.linear import Diagonal
from robench.lipschitz.norms.rounding import vector_norm_upper
from robench.lipschitz.rules.residual import general_block
from robench.lipschitz.rules.symbols import Symbols, block_upper, channel_factors, factors_up_to
from robench.lipschitz.trace.linear import Linear
from robench.lipschitz.trace.nonlinear import Nonlinear
from robench.lipschitz.trace.signals import Block, Signal, View
from robench.lipschitz.trace.spectrum import Transform
from robench.numerics import gamma, round_up

RAY_SIDE = 1100
"""Inputs and hidden units together, up to which multipliers that are known up to a factor are looked for."""
CHANNELS = 128
"""The same on a torus, where units are channels."""


def sandwich_block(branch: View) -> Block | None:
    """V φ(A x + b) with factors before and after φ, as in sandwich layers.

    Without such factors the product of the norms is nearly as good, and nothing is looked for.
    """
    bend = branch.signal.source
    if not isinstance(bend, Nonlinear) or not bend.function.entrywise or len(bend.inputs) != 1:
        return None
    before = bend.inputs[0]
    steps, after = _up_to(before.signal), _up_to(branch.signal)
    if not after or not all(isinstance(each.op, Diagonal) for each in after[1:]):
        return None
    own, later = _factors(steps, bend.size), _factors(after[:0:-1], bend.size)
    if own is None or later is None:
        return None
    start = next((each for each in steps[1:] if each.block is not None), before.signal.source)
    if start.size + bend.size > RAY_SIDE:  # what the block itself starts from may be smaller
        start = _given_to(steps)
    if start.size + bend.size > RAY_SIDE:
        return None
    return Block(start.whole, general_block(None, branch, (0.0, 1.0), start, later / own))


def _given_to(steps: Sequence[Linear]) -> Signal:
    """What the first operation that is no factor is given, of operations with the last one first."""
    first = next((each for each in steps if not isinstance(each.op, Diagonal)), steps[-1])
    return first.view.signal


def _up_to(signal: Signal) -> list[Linear]:
    """The linear signals up to a signal, the last one first."""
    found: list[Linear] = []
    while isinstance(signal, Linear):
        found.append(signal)
        signal = signal.view.signal
    return found


def _factors(signals: Sequence[Linear], size: int) -> Tensor | None:
    """The factors that the first operations multiply each unit by, without signs; None where there are none, or a 0."""
    ops = list(itertools.takewhile(lambda op: isinstance(op, Diagonal), (signal.op for signal in signals)))
    factors = torch.ones(size, dtype=torch.float64)
    for op in ops:
        if not isinstance(op, Diagonal) or op.factors.numel() not in (1, size):
            return None
        factors = factors * op.factors.abs()
    return factors if _stated([op for op in ops if isinstance(op, Diagonal)]) and bool((factors > 0).all()) else None


def sandwich_on_torus(branch: View) -> Block | None:
    """The same of images, A and V by way of Fourier transforms: frequency by frequency, factors one a channel."""
    bend = branch.signal.source
    if not isinstance(bend, Nonlinear) or not bend.function.entrywise or len(bend.inputs) != 1:
        return None
    inner, outer = _on_torus(bend.inputs[0]), _on_torus(branch)
    if inner is None or outer is None or outer.factors or not inner.factors:
        return None
    before = inner.transform.view
    later, begins = factors_up_to(outer.transform.view)
    units = inner.transform.zero.shape[1]
    if begins is not bend or outer.transform.view.shape != tuple(inner.transform.zero.shape):  # other images in between
        return None
    if before.shape[1] + units > CHANNELS or not _stated(inner.factors) or not _stated(later):
        return None
    own, after = (channel_factors(ops, units) for ops in (inner.factors, later))
    if own is None or after is None or bool((own * after == 0).any()):
        return None
    first, second = symbols(inner.transform).scaled_rows(own), symbols(outer.transform).scaled_columns(after)
    slopes = bend.function.slopes
    return Block(before, block_upper(None, second, first, slopes, (after / own).abs()))


class _Chain(NamedTuple):
    """A transform that commutes with circular shifts, and the factors after it."""

    transform: Linear
    factors: list[Diagonal]


def _on_torus(view: View) -> _Chain | None:
    factors, signal = factors_up_to(view)
    if not isinstance(signal, Linear) or not isinstance(signal.op, Transform) or signal.op.torus is None:
        return None
    return _Chain(signal, factors)


def _stated(ops: Sequence[Diagonal]) -> bool:
    """Whether there are factors of the layer's own: without, the product of the norms is nearly as good."""
    return any(op.operation == "scale" for op in ops)


def symbols(transform: Linear) -> Symbols:
    """The matrices of a transform that commutes with circular shifts: transforms of what single pixels become.

    An error E of the kernel is one of at most √(channels · pixels)·max_c ‖E_c‖ of the map (docs/design/0015 §3).
    """
    op, view = transform.op, transform.view
    channels, pixels = view.shape[1], view.shape[2] * view.shape[3]
    impulses = torch.zeros(channels, channels, pixels, dtype=torch.float64)
    impulses[range(channels), range(channels), 0] = 1.0
    with torch.no_grad():
        kernel = op.apply(impulses.flatten(1)).reshape(channels, *transform.zero.shape[1:])
        matrices = torch.fft.rfft2(kernel).flatten(2).permute(2, 1, 0)
    of_kernel = math.sqrt(channels * pixels) * gamma(op.terms + 8) * op.absolute_norm
    of_transform = gamma(4 * pixels + 64) * pixels * vector_norm_upper(kernel)
    return Symbols(matrices, round_up(of_kernel + of_transform, 4))

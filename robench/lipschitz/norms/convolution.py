"""Proven upper bounds of the norm of a convolution of one group, from its symbol on a torus that is large enough.

docs/design/0004-soundness.md §3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from robench.lipschitz.norms.lags import lags
from robench.lipschitz.norms.section import affordable_box, shift_limits, shifts_within
from robench.lipschitz.norms.spectral import largest_eigenvalue_upper, section_eigenvalue_upper, spectral_norm_upper
from robench.lipschitz.norms.torus import CHUNK, Geometry, Torus
from robench.numerics import binade, gamma, round_up

LOOSE, VERY_LOOSE = 0.08, 0.2
"""(k − 1)/n above which the section of the torus, and the strip, are worth their price."""
STRIP_SIDE = 400
"""Largest Gram matrix of a strip."""
LAGS = 4
"""Pairs of taps for each frequency above which products of taps cost more than products of symbols."""


def group_bound(kernel: Tensor, geometry: Geometry) -> float:
    """The least of the bounds of one group."""
    scale = float(kernel.abs().max())
    if scale == 0.0:
        return 0.0
    unit = binade(scale)
    kernel = kernel / unit
    if math.prod(kernel.shape[2:]) == 1:  # one matrix at each window, whatever the size, stride and padding
        return round_up(spectral_norm_upper(kernel.flatten(1)) * unit)
    bound = _largest_norm(_torus_blocks(kernel, geometry))
    if _strip_is_worth_it(kernel, geometry):
        bound = min(bound, _largest_norm(_strip_blocks(kernel, geometry)))
    # error of the symbol: sums of one product for each tap, with phases that are right to a few units
    magnitude = float(torch.linalg.vector_norm(kernel.abs().flatten(2).sum(-1)))
    error = gamma(math.prod(kernel.shape[2:]) + 64) * 2 * magnitude
    bound = round_up((bound + error) * unit * (1 + 2.0**-50), 2)
    longest_row = float(torch.linalg.vector_norm(kernel.flatten(1), dim=1).max())
    if (
        longest_row * math.sqrt(geometry.windows_on_a_pixel(tuple(kernel.shape[2:]))) * unit > bound
    ):  # the reshaped kernel cannot be below
        return bound
    return min(bound, reshaped_kernel_bound(kernel, geometry) * unit)


def _strip_is_worth_it(kernel: Tensor, geometry: Geometry) -> bool:
    """Where windows are large beside the image the torus is loose; a strip is exact along one axis."""
    if geometry.circular or geometry.padding is None or any(step != 1 for step in geometry.dilation):
        return False
    if kernel.dim() < 4 or geometry.looseness(kernel.shape[2:]) <= VERY_LOOSE:
        return False
    return min(_strip_sides(kernel, geometry)) <= STRIP_SIDE


def _strip_sides(kernel: Tensor, geometry: Geometry) -> tuple[int, int]:
    """Rows (windows of the last axis × outputs) and columns (aliases × pixels × inputs) of the matrix of a strip."""
    assert geometry.padding is not None
    windows = (geometry.size[-1] + sum(geometry.padding[-1]) - kernel.shape[-1]) // geometry.stride[-1] + 1
    aliases = math.prod(geometry.stride[:-1])
    return windows * kernel.shape[0], aliases * geometry.size[-1] * kernel.shape[1]


def reshaped_kernel_bound(kernel: Tensor, geometry: Geometry) -> float:
    """The strict reshaped-kernel bound ‖K as (out, in·taps)‖ √(windows that see one pixel); one group.

    Singla and Feizi 2021; with the window count of Serrurier et al. 2021, appendix C.3.
    """
    return round_up(
        spectral_norm_upper(kernel.flatten(1)) * math.sqrt(geometry.windows_on_a_pixel(tuple(kernel.shape[2:]))), 3
    )


class Blocks(NamedTuple):
    """A convolution that is periodic along some axes: a matrix for each frequency of a torus.

    Fields:
        torus: the torus of those axes.
        box: coarse sides of the section that is bounded; None if the whole torus is.
        numbers: that are held for a frequency.
        inner: terms in the sums of the Gram matrices, as products of computed matrices.
        error: what the Gram matrices are off, in norm, beside the rounding of these sums.
        grams: a function of frequencies that gives the Gram matrices there, of the smaller side.
    """

    torus: Torus
    box: tuple[int, ...] | None
    numbers: int
    inner: int
    error: float
    grams: Callable[[Tensor], Tensor]


def _torus_blocks(kernel: Tensor, geometry: Geometry) -> Blocks:
    """Periodic along all axes: the symbol, its aliases side by side; kernel (out, in, *taps)."""
    out, inner = kernel.shape[:2]
    taps, aliases = tuple(kernel.shape[2:]), geometry.aliases
    columns = aliases * inner
    loose = not geometry.circular and geometry.looseness(taps) > LOOSE
    box = affordable_box(taps, geometry, min(out, columns)) if loose else None
    torus = Torus.around(taps, geometry, box)
    if (out <= columns or aliases == 1) and math.prod(taps) ** 2 <= LAGS * math.prod(torus.sides):
        polynomial = lags(kernel if out <= columns else kernel.transpose(0, 1), torus)
        return Blocks(torus, box, polynomial.even.shape[1], 0, polynomial.error, polynomial.values)
    flat = kernel.flatten(2).permute(2, 0, 1).reshape(-1, out * inner) / math.sqrt(aliases)
    flat = flat.to(torch.complex128)

    def grams(waves: Tensor) -> Tensor:
        symbol = (torus.phases(waves) @ flat).reshape(-1, aliases, out, inner)
        folded = symbol.transpose(1, 2).reshape(-1, out, columns)
        return folded @ folded.mH if out <= columns else folded.mH @ folded

    numbers = max(out * columns, aliases * math.prod(taps))
    return Blocks(torus, box, numbers, max(out, columns), 0.0, grams)


def _strip_blocks(kernel: Tensor, geometry: Geometry) -> Blocks:
    """Periodic along all axes but the last, which is left open, with its own padding.

    Row block a (window), column block i (pixel) of a matrix is K̂_{i − s a + padding}, with K̂_t the symbol, folded as
    for the torus, over the other axes of tap t on the last, and s its stride.
    """
    out, inner = kernel.shape[:2]
    taps, last = tuple(kernel.shape[2:-1]), kernel.shape[-1]
    rows, columns = _strip_sides(kernel, geometry)
    others = geometry.but_last()
    box = affordable_box(taps, others, min(rows, columns))
    torus = Torus.around(taps, others, box)
    flat = kernel.flatten(2, -2).permute(2, 3, 0, 1).reshape(math.prod(taps), -1) / math.sqrt(others.aliases)
    flat = flat.to(torch.complex128)
    tap = _tap_between(rows // out, geometry, last)
    wide = columns > rows
    meetings = _meetings(tap if wide else tap.T, last).to(torch.complex128)
    count = tap.shape[0 if wide else 1]

    def grams(waves: Tensor) -> Tensor:
        symbol = (torus.phases(waves) @ flat).reshape(-1, others.aliases, last, out, inner)
        each = symbol.permute(0, 2, 3, 1, 4).flatten(3) if wide else symbol.permute(0, 2, 1, 4, 3).flatten(2, 3).conj()
        side = each.shape[2]
        stacked = each.flatten(1, 2)
        products = (stacked @ stacked.mH).reshape(-1, last, side, last, side).transpose(2, 3)
        blocks = (meetings @ products.reshape(-1, last * last, side * side)).reshape(-1, count, count, side, side)
        return blocks.transpose(2, 3).reshape(-1, count * side, count * side)

    numbers = max(min(rows, columns) ** 2, (last * (out if wide else columns // geometry.size[-1])) ** 2)
    return Blocks(torus, box, max(numbers, flat.numel()), last * (columns if wide else rows), 0.0, grams)


def _tap_between(windows: int, geometry: Geometry, taps: int) -> Tensor:
    """The tap of the last axis with which each window sees each pixel, (windows, pixels); `taps` where it does not."""
    assert geometry.padding is not None
    first = geometry.stride[-1] * torch.arange(windows)[:, None] - geometry.padding[-1][0]
    tap = torch.arange(geometry.size[-1]) - first
    return torch.where((tap >= 0) & (tap < taps), tap, taps)


def _meetings(tap: Tensor, taps: int) -> Tensor:
    """How often, where two rows meet a column, the first does with tap t and the second with t': (rows², taps²).

    The product of two block rows of a strip is the sum of these products of taps.

    Args:
        tap: of each row and column; `taps` where they do not meet.
        taps: how many there are.
    """
    which = functional.one_hot(tap, taps + 1)[..., :taps].double()
    return torch.einsum("ait,biu->abtu", which, which).reshape(-1, taps * taps)


def _largest_norm(blocks: Blocks) -> float:
    """Norm of the operator with these blocks, or of its section where there is a box."""
    torus, inner = blocks.torus, blocks.inner
    waves = torus.frequencies()
    parts = torch.split(waves, max(1, CHUNK // blocks.numbers))
    if blocks.box is not None:
        shifts = shifts_within(torus.coarse, blocks.box)
        if len(shifts):
            gram = torch.cat([blocks.grams(part) for part in parts])
            coarse = torch.tensor(torus.coarse)
            turn = (waves[:, None] * shifts % coarse).double() / coarse
            cosines = 2 * torch.cos(2 * math.pi * turn.sum(-1))
            limits = shift_limits(shifts, blocks.box)
            return _root(section_eigenvalue_upper(gram, cosines, limits, inner=inner), blocks)
    square = 0.0
    for part in parts:
        square = largest_eigenvalue_upper(blocks.grams(part), inner=inner, floor=square)
    return _root(square, blocks)


def _root(square: float, blocks: Blocks) -> float:
    return round_up(math.sqrt(round_up(square + blocks.error)))

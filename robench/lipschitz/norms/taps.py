"""Two linear maps of one shape, of which the second may be nearly the adjoint of the first with its inputs scaled.

A x and V y of a residual block: matrices, or convolutions that slide alike, with factors for each channel between.
Their entries are compared without a matrix of the whole map (docs/design/0015-residual-blocks.md §2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robench.lipschitz.norms.banded import banded_norm_upper
from robench.lipschitz.norms.groups import convolution_norm_upper
from robench.lipschitz.norms.linear import Dense, Diagonal, LinearOp, schur_bound
from robench.lipschitz.norms.rounding import vector_norm_upper
from robench.lipschitz.norms.spectral import spectral_norm_upper
from robench.lipschitz.norms.torus import Geometry
from robench.lipschitz.norms.windows import Convolution, TransposedConvolution
from robench.numerics import gamma, round_up


@dataclass(frozen=True, eq=False)
class Taps:
    """A matrix, or a convolution, by its entries.

    Fields:
        kernel: (groups, out per group, in per group, *taps); (1, out, in) of a matrix.
        geometry: where it slides; None of a matrix.
        padding: of the convolution.
        lead: positions of one sample that are merged into the leading axis.
        roundings: that an entry of the kernel took.
        off: how far a matrix is off besides, its norm.
    """

    kernel: Tensor
    geometry: Geometry | None = None
    padding: tuple[tuple[int, int], ...] = ()
    lead: int = 1
    roundings: int = 0
    off: float = 0.0

    def like(self, other: Taps) -> bool:
        """Whether both slide alike, so that their entries can be compared."""
        own, theirs = ((taps.kernel.shape, taps.geometry, taps.padding, taps.lead) for taps in (self, other))
        return own == theirs

    def norm(self, kernel: Tensor, enough: float) -> float:
        """Upper bound of the norm with another kernel; one that is `enough` need not be the best."""
        if self.geometry is None:
            return spectral_norm_upper(kernel[0])
        bound = convolution_norm_upper(kernel, self.geometry)
        if bound <= enough * (1 + 1e-6) or self.geometry.circular:
            return bound
        return min(bound, banded_norm_upper(kernel, self.geometry, self.padding))

    def size(self, kernel: Tensor) -> float:
        """Upper bound of the norm of absolute values with another kernel, which costs nothing."""
        table = kernel.abs().flatten(3).sum(-1) if kernel.dim() > 3 else kernel.abs()
        terms = math.prod(kernel.shape[3:]) + max(kernel.shape[1:3])
        rows_and_columns = schur_bound(float(table.sum(2).max()), float(table.sum(1).max()), terms)
        return rows_and_columns if self.geometry else min(rows_and_columns, vector_norm_upper(kernel))

    @property
    def error(self) -> float:
        """How far the computed kernel is off, as a map."""
        return round_up(gamma(self.roundings + 2) * self.size(self.kernel) + self.off, 2)

    def spread(self, values: Tensor) -> Tensor:
        """A value for each output channel, in the shape of the kernel."""
        return values.reshape(*self.kernel.shape[:2], *(1 for _ in self.kernel.shape[2:]))


def taps_of(steps: Sequence[LinearOp], size: int, *, adjoint: bool) -> Taps | None:
    """The map of some operations, or its adjoint; None where it is no matrix or convolution with factors around it.

    Args:
        steps: one after the other.
        size: entries of what the first is given.
        adjoint: whether that of the map is asked for.
    """
    cores = [place for place, step in enumerate(steps) if not isinstance(step, Diagonal)]
    if len(cores) != 1:
        return None
    core = steps[cores[0]]
    if isinstance(core, Dense) and core.weight.shape[1] != size:  # at several positions
        return None
    taps = _adjoint(core) if adjoint else _own(core)
    if taps is None:
        return None
    before, after = steps[: cores[0]], steps[cores[0] + 1 :]
    groups, out, inner = taps.kernel.shape[:3]
    tail = [1] * (taps.kernel.dim() - 3)
    for scale in after if adjoint else before:
        factors = scale.by_channel(taps.lead, groups * inner) if isinstance(scale, Diagonal) else None
        if factors is None:
            return None
        taps = _scaled(taps, factors.reshape(groups, 1, inner, *tail))
    for scale in before if adjoint else after:
        factors = scale.by_channel(taps.lead, groups * out) if isinstance(scale, Diagonal) else None
        if factors is None:
            return None
        taps = _scaled(taps, factors.reshape(groups, out, 1, *tail))
    return taps


def _scaled(taps: Taps, factors: Tensor) -> Taps:
    if bool((factors == 1.0).all()):
        return taps
    return replace(taps, kernel=taps.kernel * factors, roundings=taps.roundings + 1)


def _own(core: LinearOp) -> Taps | None:
    match core:
        case Dense():
            return Taps(core.weight[None])
        case Convolution():
            geometry = core.geometry
            if geometry.circular and not any(map(any, core.padding)):  # a circular padding of nothing
                geometry = Geometry(geometry.size, geometry.stride, geometry.dilation, padding=core.padding)
            return Taps(core.kernel, geometry, core.padding, core.lead)
        case TransposedConvolution() if _plain(core.geometry):
            turned = _turned(core.kernel, core.geometry, core.padding, core.input_size)
            return None if turned is None else replace(turned, lead=core.lead)
    return None


def _adjoint(core: LinearOp) -> Taps | None:
    match core:
        case Dense():
            return Taps(core.weight.T[None])
        case TransposedConvolution():
            return Taps(core.kernel, core.geometry, core.padding, core.lead)
        case Convolution() if _plain(core.geometry):
            turned = _turned(core.kernel, core.geometry, core.padding, core.output_size)
            return None if turned is None else replace(turned, lead=core.lead)
    return None


def _plain(geometry: Geometry) -> bool:
    return all(step == 1 for step in geometry.stride)


def _turned(
    kernel: Tensor, geometry: Geometry, padding: tuple[tuple[int, int], ...], size: tuple[int, ...]
) -> Taps | None:
    """The adjoint of a convolution of stride 1 as a convolution: of inputs of this size, taps the other way round."""
    reach = [d * (side - 1) for d, side in zip(geometry.dilation, kernel.shape[3:], strict=True)]
    pads = tuple((r - before, r - after) for r, (before, after) in zip(reach, padding, strict=True))
    if any(side < 0 for pair in pads for side in pair):
        return None
    given = None if geometry.padding is None else pads
    turned = Geometry(size, geometry.stride, geometry.dilation, geometry.circular, given)
    axes = tuple(range(3, kernel.dim()))
    return Taps(kernel.transpose(1, 2).flip(axes) if axes else kernel.transpose(1, 2), turned, pads)


def best_scales(inner: Taps, outer: Taps) -> Tensor:
    """The factor for each output channel of the first with which it is nearest to the second; 0 where it is 0."""
    axes = tuple(range(2, inner.kernel.dim()))
    lengths = inner.kernel.square().sum(axes)
    return (outer.kernel * inner.kernel).sum(axes) / lengths.clamp_min(torch.finfo(torch.float64).tiny)

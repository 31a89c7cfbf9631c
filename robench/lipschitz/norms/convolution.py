"""Proven upper bounds of the norm of a convolution, from its symbol on a torus that is large enough.

Zero padding is a compression of the convolution on a torus of side ≥ n + k − 1, where no window meets the image on
both of its ends; a stride keeps one coset, whose symbol holds the aliases of each coarse frequency side by side.
After Sedghi, Gupta and Long (ICLR 2019) for the torus; the embedding is proved in docs/design/0004-soundness.md §3.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from robench.lipschitz.norms.spectral import largest_eigenvalue_upper, section_eigenvalue_upper, spectral_norm_upper
from robench.numerics import binade, gamma, round_up

CHUNK = 1 << 22
"""Complex numbers of the symbol that are held at once."""
LOOSE, VERY_LOOSE = 0.08, 0.2
"""(k − 1)/n above which the section of the torus, and the strip, are worth their price."""
SHIFTS = {1: 9, 2: 4, 3: 2}
"""Largest shift of a multiplier along an axis, by the number of axes."""
SECTION_WORK = 1e8
"""Frequencies × side³ of their matrices up to which the section is bounded."""
STRIP_SIDE = 400
"""Largest Gram matrix of a strip."""


@dataclass(frozen=True)
class Geometry:
    """Where a convolution slides; one entry per spatial axis.

    Fields:
        size: side of its input.
        stride, dilation: as in torch.
        circular: the input is closed to a torus of side `size` and the stride divides it.
        padding: zeros before and after; None if unknown, which is sound for any.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    circular: bool = False
    padding: tuple[tuple[int, int], ...] | None = None


def group_bound(kernel: Tensor, geometry: Geometry) -> float:
    """The least of the bounds of one group."""
    scale = float(kernel.abs().max())
    if scale == 0.0:
        return 0.0
    unit = binade(scale)
    kernel = kernel / unit
    if math.prod(kernel.shape[2:]) == 1:  # one matrix at each window, whatever the size, stride and padding
        return round_up(spectral_norm_upper(kernel.flatten(1)) * unit)
    bound = _torus_bound(kernel, geometry)
    if _strip_is_worth_it(kernel, geometry):
        bound = min(bound, _strip_bound(kernel, geometry))
    # error of the symbol: sums of one product for each tap, with phases that are right to a few units
    magnitude = float(torch.linalg.vector_norm(kernel.abs().flatten(2).sum(-1)))
    error = gamma(math.prod(kernel.shape[2:]) + 64) * 2 * magnitude
    bound = round_up((bound + error) * unit * (1 + 2.0**-50), 2)
    longest_row = float(torch.linalg.vector_norm(kernel.flatten(1), dim=1).max())
    if longest_row * math.sqrt(_windows(kernel, geometry)) * unit > bound:  # the reshaped kernel cannot be below
        return bound
    return min(bound, reshaped_kernel_bound(kernel, geometry) * unit)


def _strip_is_worth_it(kernel: Tensor, geometry: Geometry) -> bool:
    """Where windows are large beside the image the torus is loose; a strip is exact along one axis."""
    if geometry.circular or geometry.padding is None or any(step != 1 for step in geometry.dilation):
        return False
    if kernel.dim() < 4 or _looseness(tuple(kernel.shape[2:]), geometry) <= VERY_LOOSE:
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
    return round_up(spectral_norm_upper(kernel.flatten(1)) * math.sqrt(_windows(kernel, geometry)), 3)


def _windows(kernel: Tensor, geometry: Geometry) -> int:
    """Windows that see one pixel, at most."""
    windows = 1
    for taps, stride, dilation in zip(kernel.shape[2:], geometry.stride, geometry.dilation, strict=True):
        residues = [(tap * dilation) % stride for tap in range(taps)]
        windows *= max(residues.count(residue) for residue in set(residues))
    return windows


def torus_sides(taps: tuple[int, ...], geometry: Geometry, lengths: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """Sides of the torus: multiples of the stride, ≥ n + k − 1 with k the dilated kernel side.

    Args:
        taps: kernel sides.
        geometry: of the convolution.
        lengths: coarse sides of a box that shifts of up to `SHIFTS` must not leave and enter again; None if there is
            none.
    """
    if geometry.circular:
        return geometry.size
    sides = []
    for axis, (size, stride, dilation) in enumerate(
        zip(geometry.size, geometry.stride, geometry.dilation, strict=True)
    ):
        coarse = math.ceil((size + dilation * (taps[axis] - 1)) / stride)
        if lengths is not None:
            coarse = max(coarse, lengths[axis] + SHIFTS[len(lengths)])
        sides.append(stride * coarse)
    return tuple(sides)


def _torus_bound(kernel: Tensor, geometry: Geometry) -> float:
    """From the folded symbol on the torus; kernel (out, in, *taps)."""
    out, inner = kernel.shape[:2]
    taps = tuple(kernel.shape[2:])
    aliases = math.prod(geometry.stride)
    side = min(out, aliases * inner)
    lengths = None
    if not geometry.circular and _looseness(taps, geometry) > LOOSE:
        lengths = _affordable_section(taps, geometry, side)
    sides = torus_sides(taps, geometry, lengths)
    flat = (kernel.flatten(2).permute(2, 0, 1).reshape(-1, out * inner) / math.sqrt(aliases)).to(torch.complex128)
    waves = coarse_frequencies(geometry, sides)

    def grams(part: Tensor) -> Tensor:
        turned = phases(part, taps, geometry, sides)
        symbol = (turned @ flat).reshape(-1, aliases, out, inner)
        folded = symbol.transpose(1, 2).reshape(-1, out, aliases * inner)
        return folded @ folded.mH if out <= aliases * inner else folded.mH @ folded

    work = (aliases * max(out * inner, math.prod(taps)), side * side)
    coarse = tuple(side // stride for side, stride in zip(sides, geometry.stride, strict=True))
    square = _largest(grams, waves, work, max(out, aliases * inner), coarse, lengths)
    return math.sqrt(square)


def _strip_bound(kernel: Tensor, geometry: Geometry) -> float:
    """As the torus, but with the last axis left open, with its own padding: one matrix for each other frequency.

    Row block a (window), column block i (pixel) of the matrix is K̂_{i − s a + padding}, with K̂_t the symbol, folded as
    for the torus, over the other axes of tap t on the last, and s its stride.
    """
    assert geometry.padding is not None
    out, inner = kernel.shape[:2]
    taps, last = tuple(kernel.shape[2:-1]), kernel.shape[-1]
    rows, columns = _strip_sides(kernel, geometry)
    others = Geometry(geometry.size[:-1], geometry.stride[:-1], geometry.dilation[:-1], padding=geometry.padding[:-1])
    aliases = math.prod(others.stride)
    lengths = _affordable_section(taps, others, min(rows, columns))
    sides = torus_sides(taps, others, lengths)
    flat = kernel.flatten(2, -2).permute(2, 3, 0, 1).reshape(math.prod(taps), -1) / math.sqrt(aliases)
    flat = flat.to(torch.complex128)
    first = geometry.stride[-1] * torch.arange(rows // out)[:, None] - geometry.padding[-1][0]
    tap = torch.arange(geometry.size[-1]) - first
    tap = torch.where((tap >= 0) & (tap < last), tap, last)  # position `last` holds zeros

    def grams(part: Tensor) -> Tensor:
        symbol = (phases(part, taps, others, sides) @ flat).reshape(-1, aliases, last, out, inner)
        symbol = torch.cat((symbol, torch.zeros_like(symbol[:, :, :1])), dim=2)
        strip = symbol[:, :, tap].permute(0, 2, 4, 1, 3, 5).reshape(-1, rows, columns)
        return strip.mH @ strip if columns <= rows else strip @ strip.mH

    work = (max(rows * columns, aliases * math.prod(taps)), min(rows, columns) ** 2)
    coarse = tuple(side // stride for side, stride in zip(sides, others.stride, strict=True))
    square = _largest(grams, coarse_frequencies(others, sides), work, max(rows, columns), coarse, lengths)
    return math.sqrt(square)


def _largest(
    grams: Callable[[Tensor], Tensor],
    waves: Tensor,
    work: tuple[int, int],
    inner: int,
    sides: tuple[int, ...],
    lengths: tuple[int, ...] | None,
) -> float:
    """Largest eigenvalue of the operator with these Gram matrices, or of its section where that is worth it.

    Args:
        grams: Gram matrices at some frequencies.
        waves: all frequencies.
        work: complex numbers to make and to keep for each.
        inner: terms in the sums of the Gram matrices.
        sides: of the coarse torus.
        lengths: of the section's box; None for the whole torus.
    """
    chunk = max(1, CHUNK // max(work))
    if lengths is not None:
        shifts = _shifts(sides, lengths)
        if len(shifts):
            gram = torch.cat([grams(waves[start : start + chunk]) for start in range(0, waves.shape[0], chunk)])
            turn = (waves[:, None] * shifts % torch.tensor(sides)).double() / torch.tensor(sides)
            cosines = 2 * torch.cos(2 * math.pi * turn.sum(-1))
            return section_eigenvalue_upper(gram, cosines, _section_limits(shifts, lengths), inner=inner)
    square = 0.0
    for start in range(0, waves.shape[0], chunk):
        square = largest_eigenvalue_upper(grams(waves[start : start + chunk]), inner=inner, floor=square)
    return square


def _looseness(taps: tuple[int, ...], geometry: Geometry) -> float:
    """How large windows are beside the image: the torus exceeds the true norm by about the square of this."""
    reach = (d * (k - 1) / n for k, d, n in zip(taps, geometry.dilation, geometry.size, strict=True))
    return max(reach)


def _affordable_section(taps: tuple[int, ...], geometry: Geometry, side: int) -> tuple[int, ...] | None:
    """Sides of the section's box, or None if its matrices of this side are too much work on the torus it needs."""
    lengths = _section_lengths(taps, geometry)
    pairs = zip(torus_sides(taps, geometry, lengths), geometry.stride, strict=True)
    frequencies = math.prod(side // stride for side, stride in pairs) // 2 + 1
    return lengths if frequencies * side**3 <= SECTION_WORK else None


def _section_lengths(taps: tuple[int, ...], geometry: Geometry) -> tuple[int, ...]:
    """Sides of a box on the coarse torus: of all pixels, or of all windows if those are known and fewer.

    One or the other on all axes at once: T*T is a compression to pixels and TT* one to windows, and nothing is a
    compression to pixels along one axis and windows along another.
    """
    pixels = tuple(
        1 + math.ceil((size - 1) / stride) for size, stride in zip(geometry.size, geometry.stride, strict=True)
    )
    if geometry.padding is None:
        return pixels
    windows = tuple(
        (size + sum(padding) - dilation * (side - 1) - 1) // stride + 1
        for size, padding, dilation, side, stride in zip(
            geometry.size, geometry.padding, geometry.dilation, taps, geometry.stride, strict=True
        )
    )
    return min(pixels, windows, key=math.prod)


def _shifts(sides: tuple[int, ...], lengths: tuple[int, ...]) -> Tensor:
    """Shifts m of the multipliers 2 cos(m·w), one of m and −m: too short to lead around the torus into the box."""
    reach = [min(SHIFTS[len(sides)], side - length) for side, length in zip(sides, lengths, strict=True)]
    ranges = [range(-largest, largest + 1) for largest in reach]
    zero = (0,) * len(sides)
    return torch.tensor([shift for shift in itertools.product(*ranges) if shift > zero])


def _section_limits(shifts: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Norm of the section of 2 cos(m·w) on the box: paths of at most ⌈n/|m|⌉ pixels, each 2 cos(π/(pixels + 1))."""
    limits = []
    for shift in shifts.tolist():
        path = min(math.ceil(length / abs(step)) for length, step in zip(lengths, shift, strict=True) if step)
        limits.append(round_up(2 * math.cos(math.pi / (path + 1)), 4) if path > 1 else 0.0)
    return torch.tensor(limits, dtype=torch.float64)


def coarse_frequencies(geometry: Geometry, sides: tuple[int, ...]) -> Tensor:
    """One of w and −w on the coarse torus: a real kernel has conjugate symbols there."""
    coarse = tuple(side // stride for side, stride in zip(sides, geometry.stride, strict=True))
    waves = torch.cartesian_prod(*[torch.arange(side) for side in coarse]).reshape(-1, len(coarse))
    mirrored = (-waves) % torch.tensor(coarse)
    weight = torch.tensor([math.prod(coarse[axis + 1 :]) for axis in range(len(coarse))])
    return waves[(waves * weight).sum(1) <= (mirrored * weight).sum(1)]


def phases(waves: Tensor, taps: tuple[int, ...], geometry: Geometry, sides: tuple[int, ...]) -> Tensor:
    """exp(−2πi w·t) for coarse frequencies, their aliases and taps: (frequencies, aliases, taps)."""
    coarse = torch.tensor([side // stride for side, stride in zip(sides, geometry.stride, strict=True)])
    shifts = torch.tensor(list(itertools.product(*[range(stride) for stride in geometry.stride])))
    positions = torch.tensor(list(itertools.product(*[range(k) for k in taps]))) * torch.tensor(geometry.dilation)
    fine = waves[:, None] + shifts * coarse
    turn = torch.zeros(fine.shape[0], fine.shape[1], positions.shape[0], dtype=torch.float64)
    for axis, side in enumerate(sides):  # reduced modulo the side in integers: the angle stays exact to a unit
        turn += ((fine[:, :, None, axis] * positions[:, axis]) % side).double() / side
    angle = turn * (-2 * math.pi)
    return torch.complex(torch.cos(angle), torch.sin(angle))

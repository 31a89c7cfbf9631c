"""The norm of a convolution with its padding as it is, on images of moderate size: a Cholesky test of a band.

A torus is larger than the image, and its norm a little larger. Pixels in order make AᵀA a band of a few rows of the
image, whose factorisation costs little (docs/design/0015-residual-blocks.md §2).
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy.linalg import LinAlgError, cholesky_banded
from scipy.sparse import coo_array, csr_array, vstack
from scipy.sparse.linalg import ArpackError, eigsh
from torch import Tensor

from robench.lipschitz.norms.torus import Geometry
from robench.numerics import gamma, round_up

ENTRIES, WORK, PADDED_WORK = 20_000_000, 20_000_000_000, 5_000_000_000
"""Most numbers of a band and of a sparse matrix, and multiplications of a factorisation; of a padded image."""
SLACK = 1e-9


def banded_norm_upper(kernel: Tensor, geometry: Geometry, padding: tuple[tuple[int, int], ...]) -> float:
    """An upper bound of the norm of a convolution with zero padding; infinite where the band is wide.

    Args:
        kernel: (groups, out, in, *taps), float64.
        geometry: of the convolution, not circular.
        padding: zeros before and after, of each axis.
    """
    square = 0.0
    for group in kernel:
        square = max(square, _largest(group, geometry, padding))
    return round_up(math.sqrt(square), 2) if math.isfinite(square) else math.inf


def _largest(kernel: Tensor, geometry: Geometry, padding: tuple[tuple[int, int], ...]) -> float:
    """An upper bound of λ_max(AᵀA) of one group."""
    inner, taps = kernel.shape[1], tuple(kernel.shape[2:])
    size, reach = inner * math.prod(geometry.size), math.prod(taps)
    steps = [math.prod(geometry.size[axis + 1 :]) for axis in range(len(taps))]
    spans = [d * (side - 1) for d, side in zip(geometry.dilation, taps, strict=True)]
    band = inner * sum(span * step for span, step in zip(spans, steps, strict=True)) + inner - 1
    numbers = max((band + 1) * size, reach * kernel.shape[0] * size)
    if not bool(kernel.any()):
        return 0.0
    if geometry.circular or size < 3 or band >= size or numbers > ENTRIES or size * band**2 > WORK:
        return math.inf
    matrix = _sparse(kernel, geometry, padding)
    return _proven((matrix.T @ matrix).tocoo(), band, reach * kernel.shape[0])


def _proven(gram: coo_array, band: int, terms: int) -> float:
    """An upper bound of λ_max of the exact Gram matrix of which this is the computed one; infinite if none is found.

    Args:
        gram: zero outside of the band.
        band: how far entries are from the diagonal, at most.
        terms: of the sums of an entry.
    """
    size = gram.shape[0]
    start = np.random.default_rng(0).standard_normal(size)
    try:
        found = eigsh(gram.tocsr(), k=1, which="LA", return_eigenvectors=False, tol=1e-8, v0=start, maxiter=60)
    except ArpackError:
        return math.inf
    table = np.zeros((band + 1, size))
    below = gram.row >= gram.col
    table[(gram.row - gram.col)[below], gram.col[below]] = -gram.data[below]
    value, slack, diagonal = float(found[0]) * (1 + SLACK), SLACK, table[0].copy()
    if not value > 0:
        return math.inf
    while True:
        table[0] = diagonal + value
        try:
            cholesky_banded(table, lower=True, check_finite=True)
            break
        except LinAlgError:
            value, slack = value * (1 + slack), slack * 10
    trace = -float(diagonal.sum())
    product = gamma(terms + 4) * trace * 1.01
    backward = 2 * gamma(4 * (size + 2)) * size * (value + product)
    return round_up(value + product + backward + 4 * value * gamma(4), 8)


def padded_norm_upper(
    kernel: Tensor,
    geometry: Geometry,
    padding: tuple[tuple[int, int], ...],
    index: Tensor,
    sides: tuple[int, ...],
) -> float:
    """An upper bound of the norm of a convolution of an image that is padded by copies of its own pixels.

    Entries of the product that are sums of several taps are taken as computed. Infinite where the band is wide.

    Args:
        kernel: (groups, out, in, *taps), float64.
        geometry: of the convolution, not circular; its size is that of the padded image.
        padding: zeros before and after, of each axis, which come on top.
        index: for each entry of the padded image (channels, *size), 1 + its place in the image; 0 is a constant.
        sides: of the image (channels, *sides).
    """
    (groups, _, inner), taps = kernel.shape[:3], kernel.shape[3:]
    channels, pixels, size = groups * inner, math.prod(sides), groups * inner * math.prod(sides)
    if not bool(kernel.any()):
        return 0.0
    spans = [d * (side - 1) for d, side in zip(geometry.dilation, taps, strict=True)]
    steps = [math.prod(sides[axis + 1 :]) for axis in range(len(taps))]
    expected = channels * (1 + sum(span * step for span, step in zip(spans, steps, strict=True)))
    numbers = max((expected + 1) * size, kernel.numel() * math.prod(geometry.size))
    if geometry.circular or size < 3 or numbers > ENTRIES or size * expected**2 > PADDED_WORK:
        return math.inf
    places = index.numpy() - 1
    parts = []
    for group in range(groups):
        part = _sparse(kernel[group], geometry, padding).tocoo()
        channel, pixel = group * inner + part.col % inner, part.col // inner
        place = places[channel * math.prod(geometry.size) + pixel]
        kept = place >= 0
        columns = place[kept] % pixels * channels + place[kept] // pixels  # pixels in order, channels within
        parts.append(csr_array((part.data[kept], (part.row[kept], columns)), shape=(part.shape[0], size)))
    matrix = vstack(parts).tocsr()
    gram = (matrix.T @ matrix).tocoo()
    band = int((gram.row - gram.col).max(initial=0))
    if band >= size or (band + 1) * size > ENTRIES or size * band**2 > PADDED_WORK:
        return math.inf
    square = _proven(gram, band, int(np.diff(matrix.tocsc().indptr).max()))
    return round_up(math.sqrt(square), 2) if math.isfinite(square) else math.inf


def _sparse(kernel: Tensor, geometry: Geometry, padding: tuple[tuple[int, int], ...]) -> csr_array:
    """The matrix of a convolution: rows (window, out), columns (pixel, in)."""
    out, inner, *taps = kernel.shape
    by_tap = kernel.flatten(2).permute(2, 0, 1).numpy()
    sides = zip(geometry.size, padding, geometry.dilation, taps, geometry.stride, strict=True)
    windows = [(n + sum(pad) - d * (k - 1) - 1) // s + 1 for n, pad, d, k, s in sides]
    rows, columns, values = [], [], []
    for entries, tap in zip(by_tap, itertools.product(*map(range, taps)), strict=True):
        window = pixel = np.zeros(1, dtype=np.int64)
        for axis, place in enumerate(tap):
            along = np.arange(windows[axis])
            at = along * geometry.stride[axis] - padding[axis][0] + geometry.dilation[axis] * place
            inside = (at >= 0) & (at < geometry.size[axis])
            window = (window[:, None] * windows[axis] + along[inside]).reshape(-1)
            pixel = (pixel[:, None] * geometry.size[axis] + at[inside]).reshape(-1)
        shape = (len(window), out, inner)
        rows.append(np.broadcast_to(window[:, None, None] * out + np.arange(out)[:, None], shape).reshape(-1))
        columns.append(np.broadcast_to(pixel[:, None, None] * inner + np.arange(inner), shape).reshape(-1))
        values.append(np.broadcast_to(entries, shape).reshape(-1))
    where = (np.concatenate(rows), np.concatenate(columns))
    sides_of = (math.prod(windows) * out, math.prod(geometry.size) * inner)
    return csr_array((np.concatenate(values), where), shape=sides_of)

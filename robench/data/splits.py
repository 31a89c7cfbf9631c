"""Seeded order and seeded splits that stay the same on every machine and with every numpy.

numpy promises the raw stream of a bit generator, not that of `Generator.permutation` (NEP 19), so the orders here
are the ranks of raw Philox words.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robench.data.dataset import Labels, Rows


def permutation(n: int, seed: int) -> Rows:
    """A seeded permutation of 0..n-1; the first k of it are the same whatever k is."""
    return np.argsort(np.random.Philox(key=seed).random_raw(n), kind="stable").astype(np.int64)


def stratified(labels: Labels, shares: Sequence[float], seed: int) -> list[Rows]:
    """Cut the rows into parts that each hold about the same share of every class, each part in ascending order.

    Per class the cuts lie at the rounded cumulative shares of a seeded permutation, so no row is in two parts or none.

    Args:
        labels: (N,) classes.
        shares: one share a part, summing to 1.
        seed: seed of the permutation of each class.
    """
    bounds = np.cumsum(shares)[:-1]
    parts: list[list[Rows]] = [[] for _ in shares]
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        mixed = rows[permutation(len(rows), seed)]
        for part, piece in zip(parts, np.split(mixed, np.rint(bounds * len(rows)).astype(np.int64)), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)).astype(np.int64) for part in parts]

"""Seeded order and seeded splits that stay the same on every machine and with every numpy.

numpy promises the raw stream of a bit generator, not that of `Generator.permutation` (NEP 19), so the orders here
are the ranks of raw Philox words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from robench.data.dataset import Labels, Rows
from robench.specs.data import Split

SHARES: Mapping[Split, float] = {"train": 0.7, "validation": 0.1, "test": 0.2}
HOLDOUT_SHARES: Mapping[Split, float] = {"train": 0.9, "validation": 0.1}
SEED = 0


def permutation(n: int, seed: int) -> Rows:
    """A seeded permutation of 0..n-1."""
    return np.argsort(np.random.Philox(key=seed).random_raw(n), kind="stable").astype(np.int64)


def mixed(rows: Rows) -> Rows:
    """The rows in a fixed mixed order: for sets that lie sorted by class, whose first rows would be of one class."""
    return rows[permutation(len(rows), SEED)]


def cut(labels: Labels, shares: Sequence[float], seed: int) -> list[Rows]:
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
        drawn = rows[permutation(len(rows), seed)]
        for part, piece in zip(parts, np.split(drawn, np.rint(bounds * len(rows)).astype(np.int64)), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)).astype(np.int64) for part in parts]


def stratified(labels: Labels, shares: Mapping[Split, float] = SHARES) -> dict[Split, Rows]:
    """The splits of a set that comes in one piece."""
    return dict(zip(shares, cut(labels, tuple(shares.values()), SEED), strict=True))


def holdout(labels: Labels) -> dict[Split, Rows]:
    """Training and validation rows of a set that has a test set of its own: nine tenths and one tenth."""
    return stratified(labels, HOLDOUT_SHARES)

"""Whether one model is better than another: both judged on the same images, image by image. No torch here.

An image on which both are right, or both wrong, says nothing about which is better. Of the others each is a toss: if
the two models were equally good, either would be the one that is right with probability 1/2. That is McNemar's test,
in its exact form (Q. McNemar, Note on the sampling error of the difference between correlated proportions,
Psychometrika 12, 1947).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from scipy.special import bdtr

from robench.arrays import Flags

LEVEL = 0.05
"""Chance of calling any two equally good models of a comparison different."""


class Judged(NamedTuple):
    """Which images a model is right on.

    Fields:
        images: what tells the images apart, each once.
        right: one for each image.
    """

    images: Sequence[tuple[int, str]]
    right: Bool[Flags, " n"]


class Difference(NamedTuple):
    """Two models on the images that both were judged on.

    Fields:
        n: images that both were judged on.
        first, second: images on which only the one, or only the other, is right.
        p: chance of a split at least as uneven if both were equally good, doubled for either side; 1 without images.
            In `differences` it is that of all pairs together (Holm).
    """

    n: int
    first: int
    second: int
    p: float

    @property
    def real(self) -> bool:
        """Whether the difference is more than sampling error."""
        return self.p <= LEVEL

    @property
    def swapped(self) -> Difference:
        """The same, told from the other side."""
        return Difference(self.n, self.second, self.first, self.p)


def difference(one: Judged, other: Judged) -> Difference:
    """The exact test of McNemar on the images that both were judged on.

    Args:
        one: a model.
        other: another one.
    """
    first, second = _common(one, other)
    gained, lost = int((first & ~second).sum()), int((second & ~first).sum())
    # two-sided binomial test of a fair coin, as `scipy.stats.binomtest(gained, gained + lost)`, without its search
    p = min(1.0, 2.0 * float(bdtr(min(gained, lost), gained + lost, 0.5)))
    return Difference(len(first), gained, lost, p)


def differences(judged: Sequence[Judged]) -> Mapping[tuple[int, int], Difference]:
    """Every pair of models by their places, in both orders, with p-values that hold for all pairs together.

    They are Holm's (S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6, 1979): the chance that any two equally good models are called different is at most `LEVEL`, however
    one picks the pairs that one looks at. So the best one may be picked by the same numbers.
    """
    pairs = list(combinations(range(len(judged)), 2))
    found = [difference(judged[one], judged[other]) for one, other in pairs]
    adjusted = holm([item.p for item in found])
    table = {}
    for (one, other), item, p in zip(pairs, found, adjusted, strict=True):
        table[one, other] = item._replace(p=p)
        table[other, one] = table[one, other].swapped
    return table


def holm(p: Sequence[float]) -> list[float]:
    """P-values that hold for all of them together, in the same order."""
    order = np.argsort(p, kind="stable")
    steps = np.asarray(p, dtype=np.float64)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(p) else steps
    return [float(value) for value in adjusted]


def _common(one: Judged, other: Judged) -> tuple[Bool[Flags, " n"], Bool[Flags, " n"]]:
    """Both on the images that both know, in the order of the first."""
    if one.images == other.images:
        return one.right, other.right
    places = {image: place for place, image in enumerate(other.images)}
    shared = [(row, places[image]) for row, image in enumerate(one.images) if image in places]
    rows, columns = np.array(shared, dtype=np.int64).reshape(-1, 2).T
    return one.right[rows], other.right[columns]

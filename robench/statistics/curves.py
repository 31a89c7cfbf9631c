"""Accuracy against ε, from records: one threshold an image says at which ε it still counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt
from jaxtyping import Float64, Int64

from robench.arrays import Array, Integers
from robench.records.record import COMBINED, AttackRecord, CertifyRecord, Rule
from robench.records.smoothed import SmoothedRecord
from robench.statistics.intervals import Interval, clopper_pearson


@dataclass(frozen=True, eq=False)
class Curve:
    """A rate that falls with ε.

    Fields:
        thresholds: an image counts at ε iff its threshold lies above ε; 0 for a misclassified image, infinity
            for an image that no attack broke.
    """

    thresholds: Float64[Array, " n"]

    @property
    def n(self) -> int:
        """Number of images."""
        return int(self.thresholds.size)

    @cached_property
    def _ascending(self) -> Float64[Array, " n"]:
        return np.sort(self.thresholds)

    def counts(self, eps: npt.ArrayLike) -> Int64[Integers, "*eps"]:
        """How many images count at each ε."""
        return np.asarray(self.n - np.searchsorted(self._ascending, np.asarray(eps, dtype=np.float64), side="right"))

    def rate(self, epsilon: float) -> Fraction:
        """The exact rate at one ε; there must be an image."""
        return Fraction(int(self.counts(epsilon)), self.n)

    def rates(self, eps: npt.ArrayLike) -> Float64[Array, "*eps"]:
        """The rates at each ε as floats."""
        return np.asarray(self.counts(eps) / self.n)

    def interval(self, eps: npt.ArrayLike) -> Interval:
        """95 % Clopper-Pearson intervals of the rates at each ε."""
        return clopper_pearson(self.counts(eps), self.n)

    @cached_property
    def mean(self) -> Fraction:
        """The exact mean threshold; all thresholds must be finite."""
        mantissas, exponents = np.frexp(self.thresholds)
        whole = np.ldexp(mantissas, 53).astype(np.int64)
        total = Fraction(0)
        for exponent in np.unique(exponents).tolist():
            of_binade = whole[exponents == exponent]
            high, low = int((of_binade >> 26).sum()), int((of_binade & (2**26 - 1)).sum())  # neither leaves 64 bits
            total += Fraction((high << 26) + low) * Fraction(2) ** (exponent - 53)
        return total / self.n


def certified(records: Sequence[CertifyRecord], rule: Rule) -> Curve:
    """Certified accuracy: proven, a lower bound of the accuracy under any attack."""
    return Curve(np.array([record.radius(rule) for record in records], dtype=np.float64))


def certified_when_attacked(records: Sequence[AttackRecord]) -> Curve:
    """Certified accuracy on the attacked images, by the radius that attack records carry."""
    return Curve(np.array([record.certified_radius if record.correct else 0.0 for record in records], dtype=np.float64))


def smoothed(records: Sequence[SmoothedRecord]) -> Curve:
    """Certified accuracy of a smoothed classifier; each radius holds with a probability."""
    return Curve(np.array([record.certified_radius for record in records], dtype=np.float64))


def robust(records: Sequence[AttackRecord], attack: str = COMBINED) -> Curve:
    """Accuracy under one attack, or under all together: an upper bound of the accuracy under any attack."""
    return Curve(np.array([_broken_at(record, attack) for record in records], dtype=np.float64))


def clean(records: Sequence[CertifyRecord] | Sequence[AttackRecord]) -> Fraction:
    """The exact clean accuracy; there must be an image."""
    return Fraction(sum(record.predicted == record.label for record in records), len(records))


def _broken_at(record: AttackRecord, attack: str) -> float:
    if not record.correct:
        return 0.0
    distance = record.distance_of(attack)
    return math.inf if distance is None else distance

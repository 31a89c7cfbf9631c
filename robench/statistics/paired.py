"""Two numbers of the same images held against each other, and medians, each with a 95 % interval."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.special import bdtr, ndtri

from robench.arrays import Array
from robench.statistics.intervals import CONFIDENCE


class Estimate(NamedTuple):
    """A number with the ends of its interval, and of how many images."""

    value: float
    low: float
    high: float
    n: int


def paired_difference(
    one: Float64[Array, " n"], other: Float64[Array, " n"], confidence: float = CONFIDENCE
) -> Estimate:
    """The mean of one less that of the other, over the same images.

    A. Agresti and Y. Min, Simple improved confidence intervals for comparing matched proportions, Statistics in
    Medicine 24 (2005): half an image is added to each of the four outcomes, then the usual normal interval is taken.
    So ten images on which both agree do not make an interval of width 0.

    Args:
        one: for each image 0 or 1, or a mean of such over several models.
        other: the same of what it is held against.
        confidence: probability of covering, in (0, 1).

    Raises:
        ValueError: there is no image.
    """
    n = len(one)
    if not n:
        raise ValueError("there is no image")
    difference = one - other
    mean = float(difference.sum()) / (n + 2)
    variance = (float(np.square(difference).sum()) + 1.0) / (n + 2) - mean**2
    reach = float(ndtri((1 + confidence) / 2)) * math.sqrt(variance / (n + 2))
    return Estimate(float(difference.mean()), max(-1.0, mean - reach), min(1.0, mean + reach), n)


def median(values: Float64[Array, " n"], confidence: float = CONFIDENCE) -> Estimate | None:
    """The median, and two of the values between which that of all images lies, whatever their distribution.

    The k-th smallest and the k-th largest value cover it with probability 1 - 2 P(Bin(n, 1/2) < k). None where there
    are too few values for any two to do so: fewer than 6.

    Args:
        values: in any order; infinity stands for what is larger than all that was looked at.
        confidence: probability of covering, in (0, 1).
    """
    ordered, n = np.sort(values), len(values)
    ranks = np.arange(1, n // 2 + 1)
    covering = ranks[2 * bdtr(ranks - 1, n, 0.5) <= 1 - confidence]
    if not len(covering):
        return None
    k = int(covering[-1])
    middle = float(ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return Estimate(middle, float(ordered[k - 1]), float(ordered[n - k]), n)

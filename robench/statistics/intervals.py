"""Sampling error of a rate: what n images can say about all the images they were drawn from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """Two ends of a confidence interval; arrays of one shape, in [0, 1]."""

    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]


def clopper_pearson(counts: npt.ArrayLike, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Exact binomial intervals: they cover the true rate with at least the given probability, whatever the rate is.

    C. Clopper and E. Pearson, The use of confidence or fiducial limits, Biometrika 26 (1934): the ends are quantiles
    of Beta(k, n - k + 1) and Beta(k + 1, n - k). `scipy.stats.binomtest(k, n).proportion_ci(method="exact")` takes one
    count at a time and searches for its root: for the 241 points of a drawn band it needs a thousand times as long, and
    it is less exact (1e-13). A test holds this function to it.

    Args:
        counts: successes k, any shape, 0..n.
        n: trials, above 0.
        confidence: probability of covering, in (0, 1).

    Raises:
        ValueError: a count is not in 0..n, or `n` or `confidence` is out of range.
    """
    k = np.asarray(counts, dtype=np.float64)
    if n < 1 or not 0.0 < confidence < 1.0 or np.any(k < 0) or np.any(k > n):
        raise ValueError(f"no interval for counts {counts!r} of {n} at confidence {confidence}")
    tail = (1.0 - confidence) / 2.0
    low = np.where(k == 0, 0.0, betaincinv(np.maximum(k, 1.0), n - k + 1.0, tail))
    high = np.where(k == n, 1.0, betaincinv(k + 1.0, np.maximum(n - k, 1.0), 1.0 - tail))
    return Interval(low, high)

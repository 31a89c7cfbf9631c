"""The sets that need no file: `two-moons` and `digits`, from scikit-learn."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from robench.data.dataset import Source, array_source
from robench.data.splits import stratified
from robench.specs.data import Split

MOONS_NOISE = 0.05
"""Standard deviation per axis; the noiseless half moons are 0.5 apart, so the classes do not overlap."""
MOONS_BOUNDS = (-4.0, 4.0)
"""Far outside of the moons, which lie in [-1.3, 2.3] x [-0.8, 1.3]: attacks are not stopped by them."""
MOONS: dict[Split, tuple[int, int]] = {"train": (2000, 0), "validation": (500, 1), "test": (1000, 2)}
"""Number of points and seed by split."""
DIGITS_MAX = 16
"""scikit-learn's digits have 17 grey levels, 0..16."""


def two_moons(split: Split) -> Source:
    """Two half moons in the plane, (N, 2) float32, half of the points in each class."""
    from sklearn.datasets import make_moons

    n, seed = MOONS[split]
    points, labels = make_moons(n, noise=MOONS_NOISE, random_state=seed)
    return array_source(points.astype(np.float32), labels, ("upper", "lower"), bounds=MOONS_BOUNDS)


def digits(split: Split) -> Source:
    """The 1797 digits of 8 x 8 pixels of scikit-learn, (N, 1, 8, 8) float32, stratified 70/10/20."""
    images, labels = _digits()
    rows = stratified(labels)[split]
    pixels = (images[rows] / DIGITS_MAX).astype(np.float32).reshape(-1, 1, 8, 8)
    return array_source(pixels, labels[rows], tuple(str(digit) for digit in range(10)))


@cache
def _digits() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """All images and labels; scikit-learn parses their text file anew at each call, for a fifth of a second."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images, labels

"""How far apart two classes lie, and how unequal they are: margins are scaled by it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from robench.data.dataset import Dataset
from robench.errors import DataError

CHUNK = 500


class TwoClasses(NamedTuple):
    """Two classes of inputs.

    Fields:
        distance: L2 distance of their mean inputs, in input units. The linear function of slope 1 along their
            difference separates the means of its outputs by just that, so every Kantorovich-Rubinstein optimum does.
        majority: share of the more frequent class, from 0.5 up.
    """

    distance: float
    majority: float


def two_classes(dataset: Dataset) -> TwoClasses:
    """Measure a data set of two classes.

    Raises:
        DataError: a class has no example.
    """
    counts = np.bincount(dataset.labels, minlength=2)
    if counts.min() == 0:
        raise DataError(
            f"`{dataset.name}` shows one class only in its {len(dataset)} training images",
            hint="a classifier needs images of both classes",
        )
    sums = np.zeros((2, int(np.prod(dataset.shape))))
    for start in range(0, len(dataset), CHUNK):
        rows = slice(start, start + CHUNK)
        inputs = dataset.batch(rows).reshape(-1, sums.shape[1]).astype(np.float64)
        for label in (0, 1):
            sums[label] += inputs[dataset.labels[rows] == label].sum(axis=0)
    means = sums / counts[:, None]
    return TwoClasses(float(np.linalg.norm(means[1] - means[0])), float(counts.max() / counts.sum()))

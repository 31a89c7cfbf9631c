"""two-moons and digits, against their geometry and against scikit-learn's own arrays."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from robench.data import load
from robench.specs.data import DataSpec

SPLITS = {"train": 2000, "validation": 500, "test": 1000}


@pytest.mark.parametrize(("split", "n"), SPLITS.items())
def test_two_moons_lie_on_two_half_circles(split, n):
    data = load(DataSpec(name="two-moons"), split)
    assert data.inputs.shape == (n, 2)
    assert data.inputs.dtype == np.float32
    assert np.bincount(data.labels).tolist() == [n // 2, n // 2]
    points = data.inputs.astype(np.float64)
    centers = np.where(data.labels[:, None] == 0, [[0.0, 0.0]], [[1.0, 0.5]])
    radius = np.linalg.norm(points - centers, axis=1)
    assert abs(radius.mean() - 1) < 0.01
    assert abs(radius.std() - 0.05) < 0.01
    assert np.all(np.where(data.labels == 0, points[:, 1] > -0.3, points[:, 1] < 0.8))


def test_two_moons_are_separable_and_far_inside_their_bounds():
    data = load(DataSpec(name="two-moons"), "train")
    upper, lower = (data.inputs[data.labels == k].astype(np.float64) for k in (0, 1))
    nearest = min(np.linalg.norm(lower - point, axis=1).min() for point in upper)
    assert nearest > 0.1
    low, high = data.bounds
    assert data.inputs.min() - low > 2
    assert high - data.inputs.max() > 1.5


def test_two_moons_splits_share_no_point():
    seen = [tuple(p) for split in SPLITS for p in load(DataSpec(name="two-moons"), split).inputs.tolist()]
    assert len(set(seen)) == len(seen)


def test_digits_are_those_of_scikit_learn_each_in_one_split():
    images, labels = load_digits(return_X_y=True)
    parts = [load(DataSpec(name="digits"), split) for split in SPLITS]
    assert [len(part) for part in parts] == [1258, 180, 359]
    together = sorted(
        (int(label), (pixels.astype(np.float64) * 16).ravel().tolist())
        for part in parts
        for pixels, label in zip(part.inputs, part.labels, strict=True)
    )
    assert together == sorted((int(label), image.tolist()) for image, label in zip(images, labels, strict=True))


def test_digits_splits_hold_every_class_in_proportion():
    _, labels = load_digits(return_X_y=True)
    test = load(DataSpec(name="digits"), "test")
    assert np.all(np.abs(np.bincount(test.labels) - 0.2 * np.bincount(labels)) <= 1)
    assert test.shape == (1, 8, 8)
    assert test.inputs.min() == 0
    assert test.inputs.max() == 1


def test_the_same_bytes_each_time():
    for name in ("two-moons", "digits"):
        first, second = (load(DataSpec(name=name), "test") for _ in range(2))
        assert first.sha256 == second.sha256
        assert first.inputs.tobytes() == second.inputs.tobytes()

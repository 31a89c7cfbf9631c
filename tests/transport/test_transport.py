"""The linear program of Theorem 2 against its dual over functions, closed forms, and functions that cannot beat it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.spatial.distance import cdist

from robench.errors import DataError, SpecError
from robench.transport import Potential, hinge_transport, plan_cosines


def best_function(positive: np.ndarray, negative: np.ndarray, alpha: float, margin: float) -> float:
    """sup over 1-Lipschitz f of -L^hKR(f) itself: f at each point, |f_i - f_j| <= |x_i - x_j|, slack for each hinge."""
    points = np.concatenate([positive, negative])
    n, k = len(positive), len(negative)
    size = n + k
    sign = np.concatenate([np.ones(n), -np.ones(k)])
    rows, bounds = [], []
    distance = cdist(points, points)
    for i in range(size):
        for j in range(size):
            if i != j:
                row = np.zeros(2 * size)
                row[i], row[j] = 1, -1
                rows.append(row)
                bounds.append(distance[i, j])
        row = np.zeros(2 * size)  # margin - y f <= slack
        row[i], row[size + i] = -sign[i], -1
        rows.append(row)
        bounds.append(-margin)
    mean = np.concatenate([np.full(n, 1 / n), np.full(k, -1 / k)])
    cost = np.concatenate([-mean, np.full(size, alpha / size)])
    limits = [(None, None)] * size + [(0, None)] * size
    solved = linprog(cost, A_ub=np.array(rows), b_ub=np.array(bounds), bounds=limits, method="highs")
    assert solved.status == 0
    return -solved.fun


@given(
    n=st.integers(1, 5),
    k=st.integers(1, 5),
    alpha=st.sampled_from([0.1, 1.0, 10.0, 50.0]),
    margin=st.sampled_from([0.0, 0.3, 1.0, 4.0]),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=25, deadline=None)
def test_both_sides_of_the_theorem_are_equal(n: int, k: int, alpha: float, margin: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive, negative = rng.normal(size=(n, 2)), rng.normal(size=(k, 2)) + 0.5
    found = hinge_transport(positive, negative, alpha=alpha, margin=margin)
    expected = best_function(positive, negative, alpha, margin)
    assert found.value == pytest.approx(expected, abs=1e-6 * (1 + alpha))


def test_without_a_hinge_it_is_the_wasserstein_distance() -> None:
    shift = np.array([3.0, 4.0])
    points = np.random.default_rng(0).normal(size=(30, 2))
    found = hinge_transport(points + shift, points, alpha=0.0, margin=1.0)
    assert found.value == pytest.approx(5.0, abs=1e-6)
    assert found.transported == pytest.approx(5.0, abs=1e-6)


@pytest.mark.parametrize(("distance", "margin"), [(3.0, 1.0), (1.0, 1.0), (0.2, 0.3)])
def test_two_points(distance: float, margin: float) -> None:
    # f = +-distance/2 is best: KR is the distance, each hinge is (m - distance/2)_+
    found = hinge_transport(np.array([[distance]]), np.array([[0.0]]), alpha=10.0, margin=margin)
    assert found.value == pytest.approx(distance - 10 * max(margin - distance / 2, 0.0), abs=1e-6)


def test_more_of_one_class_weighs_the_hinge_and_not_the_transport() -> None:
    positive, negative = np.array([[1.0]] * 3), np.array([[0.0]])
    # f(1) = u + 1, f(0) = u: KR 1, hinge (3 (m - u - 1)_+ + (m + u)_+) / 4 with m = 1, least at u = 0: 1/4
    found = hinge_transport(positive, negative, alpha=2.0, margin=1.0)
    assert found.value == pytest.approx(1 - 2 * 0.25, abs=1e-6)


@given(seed=st.integers(0, 10_000), alpha=st.sampled_from([0.0, 5.0, 50.0]))
@settings(max_examples=15, deadline=None)
def test_no_distance_function_beats_it(seed: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    positive, negative = rng.normal(size=(20, 3)) + 1, rng.normal(size=(15, 3))
    anchors, offset = rng.normal(size=(4, 3)), rng.normal()
    plus, minus = (cdist(x, anchors).min(axis=1) + offset for x in (positive, negative))  # 1-Lipschitz
    hinge = np.maximum(1 - np.concatenate([plus, -minus]), 0).mean()
    found = hinge_transport(positive, negative, alpha=alpha, margin=1.0)
    assert plus.mean() - minus.mean() - alpha * hinge <= found.value + found.tolerance


def test_refusals() -> None:
    points = np.zeros((2, 2))
    with pytest.raises(DataError, match="no point"):
        hinge_transport(points[:0], points, alpha=1.0, margin=1.0)
    with pytest.raises(SpecError, match="negative"):
        hinge_transport(points, points, alpha=-1.0, margin=1.0)
    with pytest.raises(DataError, match="pairs"):
        hinge_transport(np.zeros((2000, 1)), np.zeros((2000, 1)), alpha=1.0, margin=1.0)


def test_the_plan_is_the_one_that_costs_so_much_and_its_directions_are_seen() -> None:
    rng = np.random.default_rng(3)
    negative = rng.normal(size=(12, 2))
    positive = negative + np.array([30.0, 0.0])
    found = hinge_transport(positive, negative, alpha=5.0, margin=1.0)
    assert (found.plan * cdist(positive, negative)).sum() == pytest.approx(found.transported)
    points = np.concatenate([positive, negative])
    is_positive = np.arange(24) < 12
    values = np.where(is_positive, 2.0, -3.0)
    for gradient, expected in (([1.0, 0.0], 1.0), ([0.0, 1.0], 0.0), ([-2.0, 0.0], -1.0)):
        potential = Potential(np.arange(24), is_positive, values, np.tile(gradient, (24, 1)))
        assert np.median(plan_cosines(potential, points, found)) == pytest.approx(expected, abs=0.1)
    flat = Potential(np.arange(24), is_positive, values, np.zeros((24, 2)))
    assert len(plan_cosines(flat, points, found)) == 0

"""Curves against the definitions written out record by record."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robench.records.record import RULES
from robench.statistics import curves
from robench.statistics.curves import Curve
from tests.reporting.synthetic import ATTACKS, Synthetic

EPSILONS = [0.0, 36 / 255, 0.5, 1.0, 1.58, 2.0, 3.0, 9.0]


@pytest.mark.parametrize("seed", [0, 1])
def test_counts_are_those_of_the_records(seed: int) -> None:
    model = Synthetic(seed=seed, accuracy=0.8)
    certificates, attacked = model.certificates(80), model.attacked(80)
    for epsilon in EPSILONS:
        for rule in RULES:
            expected = sum(r.label == r.predicted and r.claimed(rule) > epsilon for r in certificates)
            assert curves.certified(certificates, rule).counts(epsilon) == expected
        assert curves.robust(attacked).counts(epsilon) == sum(r.robust_at(epsilon) for r in attacked)
        assert curves.certified_when_attacked(attacked).counts(epsilon) == sum(
            r.certified_at(epsilon) for r in attacked
        )
        for name in ATTACKS:
            assert curves.robust(attacked, name).counts(epsilon) == sum(r.robust_to(name, epsilon) for r in attacked)


def test_a_threshold_equal_to_epsilon_does_not_count() -> None:
    assert Curve(np.array([0.5, 0.5000001, 0.0])).rate(0.5) == Fraction(1, 3)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.lists(st.floats(0, 5), min_size=1, max_size=40))
def test_rates_fall_and_lie_in_their_intervals(thresholds: list[float]) -> None:
    curve = Curve(np.array(thresholds))
    eps = np.linspace(0, 6, 50)
    rates = curve.rates(eps)
    low, high = curve.interval(eps)
    assert (np.diff(rates) <= 0).all()
    assert ((low <= rates) & (rates <= high)).all()
    assert float(curve.mean) == pytest.approx(np.mean(thresholds))

"""Differences between two models on the same images: against scipy's binomial test and Holm's definition."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from robench.statistics.pairing import Judged, difference, differences, holm


def judged(right: list[bool], first: int = 0) -> Judged:
    return Judged([(place, "sha") for place in range(first, first + len(right))], np.array(right, dtype=bool))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_it_is_the_exact_test_of_mcnemar(pairs: list[tuple[bool, bool]]) -> None:
    one, other = judged([a for a, _ in pairs]), judged([b for _, b in pairs])
    found = difference(one, other)
    first, second = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    assert (found.n, found.first, found.second) == (len(pairs), first, second)
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert found.p == pytest.approx(expected, rel=1e-12)
    assert difference(other, one) == found.swapped


def test_only_images_that_both_were_judged_on_count() -> None:
    one, other = judged([True] * 10), judged([False] * 10, first=6)
    assert difference(one, other)[:3] == (4, 4, 0)
    shuffled = Judged(one.images[::-1], one.right[::-1])
    assert difference(shuffled, other) == difference(one, other)
    apart = difference(one, judged([True], first=99))
    assert (apart.n, apart.p, apart.real) == (0, 1.0, False)
    changed = Judged([(place, "other pixels") for place in range(10)], other.right)
    assert difference(one, changed).n == 0


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_rejects_as_holm_wrote_it(p: list[float]) -> None:
    """At any level: step through the p-values, the least first, as long as each passes level / (how many are left)."""
    adjusted = holm(p)
    for level in (0.01, 0.05, 0.2, *(value for value in p if value < 1)):
        rejected = set()
        for step, place in enumerate(sorted(range(len(p)), key=lambda item: p[item])):
            if p[place] * (len(p) - step) > level:
                break
            rejected.add(place)
        assert {place for place, value in enumerate(adjusted) if value <= level} == rejected


def test_equally_good_models_are_rarely_called_different() -> None:
    """The chance that any pair of six equal models is called different is at most 5 %, however it is picked."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(200):
        found = differences([judged((rng.random(200) < 0.7).tolist()) for _ in range(6)])
        wrong += any(found[pair].real for pair in itertools.combinations(range(6), 2))
    assert wrong <= 18  # of 200; a rate of 5 % exceeds it once in 200 times

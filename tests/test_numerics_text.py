"""The direction of every rounding, against fractions."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robench.numerics import ABSENT, broke, lower, lower_percent, upper, upper_percent

RATES = st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
NUMBERS = st.floats(0, 1e9, allow_nan=False) | st.fractions(0, 10**6)


@given(RATES)
def test_a_rate_lies_between_its_two_roundings_less_than_a_digit_apart(rate):
    count, n = rate
    low, high = Fraction(lower_percent(count, n)), Fraction(upper_percent(count, n))
    assert low <= Fraction(100 * count, n) <= high
    assert high - low <= Fraction(1, 10 if n <= 1000 else 100)


@given(RATES, RATES)
def test_rounding_keeps_the_order_of_proof_attack_and_clean(one, other):
    n = max(one[1], other[1])
    certified, attacked = sorted((one[0], other[0]))
    assert Fraction(lower_percent(certified, n)) <= Fraction(upper_percent(attacked, n))
    assert Fraction(upper_percent(certified, n)) <= Fraction(upper_percent(attacked, n))


@given(NUMBERS, st.integers(0, 6))
def test_numbers_are_held_from_their_side(value, decimals):
    assert Fraction(lower(value, decimals)) <= Fraction(value) <= Fraction(upper(value, decimals))


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [
        (2, 3, "66.6", "66.7"),
        (1, 3, "33.3", "33.4"),
        (199, 200, "99.5", "99.5"),
        (29, 50, "58.0", "58.0"),  # 0.58 as a float lies below
        (9999, 10001, "99.98", "99.99"),
        (0, 7, "0.0", "0.0"),
        (1001, 1001, "100.00", "100.00"),
    ],
)
def test_by_hand(count, n, low, high):
    assert (lower_percent(count, n), upper_percent(count, n)) == (low, high)


def test_what_does_not_exist_is_never_a_zero():
    assert lower_percent(None, 300) == upper_percent(None, 300) == lower(None) == upper(None) == ABSENT == "–"
    assert lower_percent(0, 0) == upper_percent(0, 0) == broke(0, 0) == ABSENT
    assert broke(0, 12) == "broke 0 of 12"


def test_only_what_exists_has_a_percent_sign() -> None:
    assert upper_percent(1, 3, " %") == "33.4 %"
    assert lower(0.125, 2, " %") == "0.12 %"
    assert upper_percent(None, 3, " %") == lower_percent(0, 0, " %") == lower(None, 2, " %") == ABSENT

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robench.numerics import ceil_decimals, distance_upper, floor_decimals, gamma, round_down, round_up

finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e100, max_value=1e100)


@given(finite)
def test_rounding_is_strict_and_one_step(value: float) -> None:
    assert round_down(value) < value < round_up(value)
    assert round_up(round_down(value)) == value


@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 2), min_size=1, max_size=60))
def test_distance_is_never_below_the_exact_one(pairs: list[tuple[float, float]]) -> None:
    x, z = (np.array(side, dtype=np.float32) for side in zip(*pairs, strict=True))
    squared = sum((Fraction(float(a)) - Fraction(float(b))) ** 2 for a, b in zip(x, z, strict=True))
    upper = Fraction(distance_upper(x, z))
    assert upper**2 >= squared
    assert upper**2 <= squared * (1 + Fraction(1, 10**12))


def test_distance_of_an_input_to_itself_is_zero() -> None:
    x = np.random.default_rng(0).random((1, 28, 28), dtype=np.float32)
    assert distance_upper(x, x) == 0.0


def test_distance_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        distance_upper(np.zeros(3), np.zeros((2, 2)))


@given(st.integers(1, 10**6))
def test_gamma_bounds_the_real_value(n: int) -> None:
    nu = Fraction(n, 2**53)
    assert Fraction(gamma(n)) >= nu / (1 - nu)


@given(st.floats(-1e6, 1e6), st.integers(0, 6))
def test_printed_numbers_are_on_the_sound_side(value: float, decimals: int) -> None:
    assert Fraction(floor_decimals(value, decimals)) <= Fraction(value) <= Fraction(ceil_decimals(value, decimals))
    width = Fraction(ceil_decimals(value, decimals)) - Fraction(floor_decimals(value, decimals))
    assert width <= Fraction(1, 10**decimals)


def test_floor_does_not_certify_what_lies_just_below() -> None:
    assert floor_decimals(0.49961, 3) == "0.499"
    assert floor_decimals(math.nextafter(0.5, 0), 3) == "0.499"
    assert floor_decimals(Fraction(58, 100), 2) == "0.58"
    assert ceil_decimals(math.nextafter(0.5, 1), 1) == "0.6"
    assert floor_decimals(-0.25, 1) == "-0.3"

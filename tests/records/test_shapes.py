import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robench.errors import SpecError
from robench.records.record import ATTACK_SHAPE
from robench.records.shapes import ANY, LARGEST, fitting, misfit
from robench.runs import shapes as run_shapes
from robench.specs.epsilon import epsilon_value

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (3, int),
        (3, float),
        (-0.5, float),
        (True, bool),
        ("a", str),
        (None, (str, None)),
        ([1, 2], [int]),
        ([], [int]),
        ({"a": 1, "new": object}, {"a": int}),
        ({}, {"a": int}),
        ({"x": 1, "y": 2}, {ANY: int}),
        ({"x": [{"y": None}]}, {"x": [{"y": (int, None)}]}),
    ],
)
def test_what_fits(data, shape):
    assert misfit(data, shape, "it") is None


@pytest.mark.parametrize(
    ("data", "shape", "named"),
    [
        (True, int, "it"),
        (True, float, "it"),
        (3.0, int, "it"),
        (LARGEST + 1, int, "it"),
        (10**400, float, "it"),
        (math.nan, float, "it"),
        (-math.inf, float, "it"),
        (None, str, "it"),
        (0, None, "it"),
        ([], {}, "it"),
        ({}, [int], "it"),
        ("ab", [str], "it"),
        ([1, "2"], [int], "it.1"),
        ({"a": {"b": [0, None]}}, {"a": {"b": [int]}}, "it.a.b.1"),
        ({"x": 1, "y": "2"}, {ANY: int}, "it.y"),
    ],
)
def test_what_does_not_fit_is_named(data, shape, named):
    assert f"`{named}`" in misfit(data, shape, "it")


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=50)
@given(JSON)
def test_any_data_get_an_answer(data):
    for shape in (run_shapes.MANIFEST, run_shapes.SUMMARY):
        problem = misfit(data, shape, "file")
        assert isinstance(data, dict) or problem is not None


SHAPES = [
    int,
    float,
    str,
    bool,
    None,
    (int, None),
    (str, float),
    [str],
    [(int, None)],
    {ANY: int},
    {"a": [str], ANY: None},
]


@given(JSON, st.sampled_from([*SHAPES, *({"a": shape} for shape in SHAPES), ATTACK_SHAPE]))
def test_the_quick_check_says_what_the_slow_one_says(data, shape):
    assert fitting(shape)(data) == (misfit(data, shape, "it") is None)
    assert fitting(shape)({"a": data}) == (misfit({"a": data}, shape, "it") is None)


@pytest.mark.parametrize(
    "text", ["1e999999999", "1e-999999999", "1e400", "1/1e9", "1/0", "9" * 5000 + "/1", "nan", "-inf"]
)
def test_radii_that_are_none_are_refused_at_once(text):
    with pytest.raises(SpecError):
        epsilon_value(text)


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_a_fraction_is_the_nearest_float(numerator, denominator):
    assert epsilon_value(f"{numerator}/{denominator}") == numerator / denominator

"""The sizes in annotations are checked in the tests: a wrong one does not pass."""

import importlib
import inspect
import re
import typing

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from robench.statistics.curves import Curve
from robench.statistics.sparing import spared
from tests.sizes import stating

SIZED = re.compile(r"(Bool|Float|Inexact|Int|Num|Shaped)[0-9]*\[")


def test_sizes_that_do_not_fit_each_other_are_refused() -> None:
    three, two = np.ones(3), np.ones(2)
    assert spared(three, three, two).shape == (3, 2)
    with pytest.raises(TypeCheckError, match="radius"):
        spared(three, two, two)


def test_an_array_of_another_kind_is_refused() -> None:
    Curve(np.ones(3))
    for wrong in (np.ones(3, dtype=np.float32), np.ones((3, 1))):
        with pytest.raises(TypeCheckError, match="thresholds"):
            Curve(wrong)


@pytest.mark.parametrize("name", stating())
def test_annotations_can_be_read(name: str) -> None:
    """jaxtyping passes over a function of which one annotation cannot be, without a word."""
    module = importlib.import_module(name)
    own = [value for value in vars(module).values() if getattr(value, "__module__", "") == name]
    classes = [value for value in own if inspect.isclass(value)]
    methods = [value for owner in classes for value in vars(owner).values() if inspect.isfunction(value)]
    for value in (*classes, *methods, *filter(inspect.isfunction, own)):
        if any(SIZED.search(str(hint)) for hint in value.__annotations__.values()):
            typing.get_type_hints(value)

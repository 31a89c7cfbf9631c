"""The sizes in annotations are checked in the tests: a wrong one does not pass."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from robench.statistics.curves import Curve
from robench.statistics.sparing import spared


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

"""Ten small evaluations give the numbers that they gave before robench was put into rooms.

The numbers in `expected/` were made by the commit 72fd6c0 with the weights in `models/`. They change only on purpose:
`python -m tests.golden.make NAME` writes one anew, and the commit says which numbers changed, and why.

- Classes, outcomes, counts, rates and the cells of the report are held exactly. A cell is rounded from a count or from
  a radius, and none of these radii lies on the edge of a rounding.
- Bounds, radii and margins are held to 1e-9, in both directions. Another processor or number of threads sums in another
  order, which changes the last digits; any change of a rule is far larger.
- The slope that is found is held to 1e-3. A power iteration that is not run to its end finds it, and its differences
  make the last digits larger. Another set of processor instructions was seen to change it by 1e-4.
- Distances of attacks are held to 1e-4, and so is what is made of them. An attack takes its steps in float32, and
  hundreds of steps carry a last digit further. 1e-6 was seen.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from tests.golden.cases import CASES, EXPECTED
from tests.golden.quantities import measure

NUMBER = 1e-9
SLOPE, DISTANCE = 1e-3, 1e-4
TOLERANCES = {
    "bounds/lower": SLOPE,
    "report/comparison-01-models/*/9": SLOPE,
    "distance/*": DISTANCE,
    "report/budgets/*/11": DISTANCE,
}
"""Relative, by the name of a quantity; `NUMBER` elsewhere. The last is the optimality of an attack."""


def differences(found: Any, expected: Any, name: str = "") -> Iterator[str]:
    """Quantities that are not the same, by name."""
    if isinstance(expected, dict) and isinstance(found, dict) and list(found) == list(expected):
        for key in expected:
            yield from differences(found[key], expected[key], f"{name}/{key}".lstrip("/"))
    elif isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            yield from differences(one, other, f"{name}/{place}")
    elif isinstance(expected, float) and isinstance(found, float):
        tolerance = next((value for form, value in TOLERANCES.items() if fnmatch(name, form)), NUMBER)
        if found != pytest.approx(expected, rel=tolerance, abs=1e-12):
            yield f"{name}: {found!r}, and was {expected!r}"
    elif found != expected:
        yield f"{name}: {found!r}, and was {expected!r}"


OF_ADV_LIB = ("unit-row-head",)
LONG = ("dense-full",)
"""Other cases are the parts of it: `dense` has its attacks with all their steps, `standard` is a full run."""


@pytest.mark.usefixtures("blank_figures")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in CASES]
)
def test_the_numbers_are_those_of_before(name: str, tmp_path: Path) -> None:
    if name in OF_ADV_LIB and importlib.util.find_spec("adv_lib") is None:
        pytest.skip("docs/design/0005-attacks.md says how to install adv-lib")
    expected = json.loads((EXPECTED / f"{name}.json").read_text())
    found = json.loads(json.dumps(measure(CASES[name], tmp_path)))
    assert list(differences(found, expected)) == []


def test_a_small_difference_is_seen() -> None:
    expected = {"bounds": {"upper": 1.25, "lower": 1.0}, "distance": [None, 0.5], "count": {"1": 3}}
    for changed, seen in (
        ({"bounds": {"upper": 1.25 * (1 + 1e-8), "lower": 1.0}}, "bounds/upper"),
        ({"bounds": {"upper": 1.25 * (1 - 1e-8), "lower": 1.0}}, "bounds/upper"),
        ({"distance": [None, 0.5002]}, "distance/1"),
        ({"distance": [0.5, 0.5]}, "distance/0"),
        ({"count": {"1": 4}}, "count/1"),
        ({"count": {"2": 3}}, "count"),
    ):
        assert [text.split(":")[0] for text in differences(expected | changed, expected)] == [seen]
    close = {"bounds": {"upper": 1.25 * (1 + 1e-11), "lower": 1.0001}, "distance": [None, 0.50001]}
    assert list(differences(expected | close, expected)) == []

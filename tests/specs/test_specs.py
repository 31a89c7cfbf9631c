import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robench.errors import SpecError
from robench.specs import Spec, epsilon_value, split_epsilons
from robench.specs.attacks import parse_attack_option
from robench.specs.base import Range
from robench.specs.data import DataSpec
from robench.specs.evaluation import AttackSpec


@dataclass(frozen=True, kw_only=True)
class Dense(Spec):
    type: Literal["dense"] = "dense"
    width: int


@dataclass(frozen=True, kw_only=True)
class Pool(Spec):
    type: Literal["pool"] = "pool"
    kind: Literal["l2", "max"] = "l2"
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Net(Spec):
    name: str
    layers: tuple[Dense | Pool, ...] = ()
    shape: tuple[int, int] = (1, 1)
    note: str | None = None
    options: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ranged(Spec):
    rate: Annotated[float, Range(above=0.0, below=2.0)]
    size: Annotated[int, Range(smallest=1, largest=8)] | None = None


NET = Net(name="n", layers=(Dense(width=3), Pool(kind="max", scale=2)), note=None, options={"a": 1.0})


def test_a_spec_survives_its_plain_data() -> None:
    assert Net.from_dict(NET.to_dict()) == NET
    assert Net.from_dict(NET.to_dict()).digest() == NET.digest()


def test_the_digest_tells_specs_apart() -> None:
    assert NET.digest() != NET.override({"name": "m"}).digest()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"nam": "n"}, "unknown field `Net.nam`.*did you mean `name`"),
        ({}, "`Net.name` is missing"),
        ({"name": 3}, "`Net.name` must be of type str; got `3`"),
        ({"name": "n", "shape": [1]}, "must have 2 items"),
        ({"name": "n", "shape": [1, True]}, "must be of type int; got `True`"),
        ({"name": "n", "layers": [{"type": "dens", "width": 3}]}, "did you mean `dense`"),
        ({"name": "n", "layers": [{"type": "pool", "kind": "l3"}]}, "must be one of l2, max; got `l3`"),
        ({"name": "n", "layers": [{"type": "dense", "width": 2.5}]}, "must be of type int; got `2.5`"),
        ({"name": "n", "options": {"a": "x"}}, "`Net.options.a` must be of type float"),
        ({"name": "n", "layers": "dense"}, "must be a list"),
    ],
)
def test_what_does_not_fit_is_named(data: dict[str, object], named: str) -> None:
    with pytest.raises(SpecError) as caught:
        Net.from_dict(data)
    assert re.search(named, f"{caught.value.message}; {caught.value.hint}")


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        Net.from_dict({"name": 1, "shape": 2, "foo": 3})
    assert all(part in caught.value.message for part in ("Net.name", "Net.shape", "Net.foo"))


def test_override_takes_dotted_paths_and_refuses_unknown_ones() -> None:
    spec = AttackSpec(data=DataSpec(name="mnist"), eps=("0.5",))
    assert spec.override({"data.name": "digits", "seed": 3}).data.name == "digits"
    for path in ("data.nam", "dat.name", "seed.x"):
        with pytest.raises(SpecError, match="unknown field"):
            spec.override({path: 1})
    with pytest.raises(SpecError, match="must be of type int"):
        spec.override({"seed": "x"})
    with pytest.raises(SpecError, match="`seed` must be 0 or more; got `-1`"):
        spec.override({"seed": -1})


@pytest.mark.parametrize("text", ["-1", "0", "nan", "inf", "x", "1/0", "", "1e999", "0/5"])
def test_what_is_no_radius_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="radius"):
        epsilon_value(text)


def test_radii_are_split_sorted_and_kept_as_written() -> None:
    assert split_epsilons(["1.58,0.5", "36/255", " 1 ", "0.5"]) == ("36/255", "0.5", "1", "1.58")
    assert epsilon_value("36/255") == 36 / 255
    with pytest.raises(SpecError, match="no radius"):
        split_epsilons([",", ""])


@given(st.floats(min_value=1e-12, max_value=1e12))
def test_a_radius_reads_back_as_written(value: float) -> None:
    assert epsilon_value(repr(value)) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [("inf", "finite"), ("nan", "finite"), ("1e400", "finite"), ("0", "not above 0"), ("-1/2", "not above 0")],
)
def test_the_reason_against_a_radius_is_the_true_one(text: str, reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        epsilon_value(text)


def test_a_constructor_refuses_what_from_dict_refuses() -> None:
    with pytest.raises(SpecError, match=r"`Net\.name` must be of type str; got `3`; `Net\.shape` must have 2 items"):
        Net(name=3, shape=(1,))
    assert Pool(scale=2).scale == 2.0
    assert Net(name="n", shape=[2, 3]).shape == (2, 3)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), 2.5])
def test_a_number_out_of_its_range_is_named_with_the_range(value: float) -> None:
    with pytest.raises(SpecError, match=r"`Ranged\.rate` must be above 0 and below 2; got"):
        Ranged(rate=value)
    with pytest.raises(SpecError, match=r"`Ranged\.size` must be 1 or more and at most 8; got `9`"):
        Ranged.from_dict({"rate": 1, "size": 9})
    assert Ranged.from_dict({"rate": 1}).size is None


def test_a_field_is_named_as_the_user_wrote_it() -> None:
    spec = AttackSpec(data=DataSpec(name="mnist"), eps=("0.5",))
    with pytest.raises(SpecError, match=r"^`data\.subset` must be one of"):
        spec.override({"data.subset": "frist"})
    with pytest.raises(SpecError, match=r"^`pgd\.steps` must be 1 or more; got `0`"):
        parse_attack_option("pgd:steps=0")

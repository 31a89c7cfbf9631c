"""Output links: taken off where they change no class, left where they might, and never read as another class.

The oracle is a linear model, of which class and radius are known: one output |w x + b - t| / |w|, several the least
of (z_i - z_j) / |w_i - w_j|, in numpy float64.
"""

from __future__ import annotations

import json
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robench import lipschitz, workflows
from robench.certificates.radii import radii as radii_of_logits
from robench.errors import ModelError, RunError
from robench.models import load_model
from robench.models.link.detection import take_off
from robench.models.link.link import Link, Threshold
from robench.reporting.evaluations import read_evaluations
from robench.runs.adversarials import read_adversarials
from robench.specs.data import DataSpec

FEATURES = 6


class Ends(nn.Module):
    """A linear map, then a function written in `forward`."""

    def __init__(self, linear: nn.Linear, function) -> None:
        super().__init__()
        self.linear, self.function = linear, function
        self.register_buffer("temperature", torch.tensor(2.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.linear(x), self)


class Last(nn.Module):
    """The function as a module of its own."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("temperature", torch.tensor(2.5))

    def forward(self, z: Tensor) -> Tensor:
        return self.function(z, self)


def linear(outputs: int, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(FEATURES, outputs).eval().requires_grad_(False)


def built(kind: str, outputs: int, function) -> tuple[nn.Module, np.ndarray, np.ndarray]:
    """The model, with the weight and bias of its linear map in float64."""
    layer = linear(outputs)
    module = Ends(layer, function) if kind == "forward" else nn.Sequential(nn.Sequential(layer, Last(function)))
    return module.eval(), layer.weight.double().numpy(), layer.bias.double().numpy()


def both(functions) -> list:
    """Each function in one of the two places by default, in the other one in the slow suite."""
    kinds = ("forward", "modules")
    cases = [(name, kinds[number % 2]) for number, name in enumerate(functions)]
    others = [(name, kinds[1 - number % 2]) for number, name in enumerate(functions)]
    return [*cases, *(pytest.param(*case, marks=pytest.mark.slow) for case in others)]


def inputs(n: int = 40) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, FEATURES)).astype(np.float32)


def radii(module: nn.Module, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes and pairwise radii of the stripped module."""
    bounds = lipschitz.bound_module(module, (FEATURES,))
    with torch.no_grad():
        z = lipschitz.plain_copy(module).double()(torch.from_numpy(x).double()).numpy()
    found = radii_of_logits(bounds, z, np.linalg.norm(x.astype(float), axis=1))
    return found.predicted, found.by_rule["pairwise"]


ONE = {
    # name: function, t of class 1 iff z > t (or z < t), sign
    "sigmoid": (lambda z, m: torch.sigmoid(z), 0.0, 1),
    "method": (lambda z, m: z.sigmoid(), 0.0, 1),
    "tanh from 0 to 1": (lambda z, m: 0.5 * (torch.tanh(z) + 1), 0.0, 1),
    "shifted": (lambda z, m: torch.sigmoid((z - 0.25) * 4), 0.25, 1),
    "temperature": (lambda z, m: torch.sigmoid(z / m.temperature), 0.0, 1),
    "clamp": (lambda z, m: z.clamp(0, 1), 0.5, 1),
    "hardsigmoid": (lambda z, m: F.hardsigmoid(z), 0.0, 1),
    "hardtanh": (lambda z, m: F.hardtanh(z, 0.0, 1.0), 0.5, 1),
    "log probability": (lambda z, m: F.logsigmoid(z), 0.0, 1),
    "log of sigmoid": (lambda z, m: torch.log(torch.sigmoid(z)), 0.0, 1),
    "smoothed": (lambda z, m: 0.01 + 0.98 * torch.sigmoid(z), 0.0, 1),
    "falling": (lambda z, m: 1 - torch.sigmoid(z), 0.0, -1),
    "falling inside": (lambda z, m: torch.sigmoid(-3 * z + 0.75), 0.25, -1),
}


@pytest.mark.parametrize(("name", "kind"), both(ONE))
def test_one_output_has_the_class_and_radius_of_its_logit(name, kind):
    function, threshold, sign = ONE[name]
    module, weight, bias = built(kind, 1, function)
    found, link = take_off(module, (FEATURES,), 1, None, "it")
    assert link is not None
    assert link.deployed is module
    x = inputs()
    distance = sign * (x.astype(float) @ weight[0] + bias[0] - threshold)
    predicted, radius = radii(found, x)
    np.testing.assert_array_equal(predicted, distance > 0)
    exact = np.abs(distance) / np.linalg.norm(weight)
    assert (radius <= exact * (1 + 1e-12)).all()
    np.testing.assert_allclose(radius, exact, rtol=1e-6, atol=1e-9)


def written_out(z: Tensor, m: nn.Module) -> Tensor:
    e = torch.exp(z - z.max(dim=1, keepdim=True).values)
    return torch.log(e / e.sum(dim=1, keepdim=True))


def in_place(z: Tensor, m: nn.Module) -> Tensor:
    z = z * 1.0
    z -= z.mean(dim=1, keepdim=True)
    return z


SEVERAL = {
    "log_softmax": lambda z, m: F.log_softmax(z, dim=1),
    "softmax": lambda z, m: z.softmax(-1),
    "temperature": lambda z, m: F.softmax(z / m.temperature, dim=1),
    "log of softmax": lambda z, m: torch.log(torch.softmax(z, dim=1)),
    "written out": written_out,
    "logsumexp": lambda z, m: z - torch.logsumexp(z, dim=1, keepdim=True),
    "mean": lambda z, m: z - z.mean(dim=1)[:, None],
    "in place": in_place,
    "largest": lambda z, m: z - z.amax(1, keepdim=True),
    "any function": lambda z, m: z + (z * z).sum(dim=1, keepdim=True),
    "expanded": lambda z, m: z + z[:, :1].sin().expand_as(z),
    "sigmoid a class": lambda z, m: torch.sigmoid(z),
    "log_sigmoid a class": lambda z, m: F.logsigmoid(z),
    "positive factor": lambda z, m: z * torch.exp(z.mean(dim=1, keepdim=True)),
}


@pytest.mark.parametrize(("name", "kind"), both(SEVERAL))
def test_several_outputs_have_the_classes_and_radii_of_their_logits(name, kind):
    module, weight, bias = built(kind, 4, SEVERAL[name])
    found, link = take_off(module, (FEATURES,), 4, None, "it")
    assert link is not None
    x = inputs()
    z = x.astype(float) @ weight.T + bias
    exact_class = z.argmax(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        gaps = z[np.arange(len(x)), exact_class][:, None] - z
        exact = np.nanmin(gaps / np.linalg.norm(weight[exact_class][:, None] - weight[None], axis=2), axis=1)
    predicted, radius = radii(found, x)
    np.testing.assert_array_equal(predicted, exact_class)
    assert (radius <= exact * (1 + 1e-12)).all()
    np.testing.assert_allclose(radius, exact, rtol=1e-6, atol=1e-9)


NO_LINK = {
    "falling": lambda z, m: 1 - F.softmax(z, dim=1),
    "negated": lambda z, m: -F.log_softmax(z, dim=1),
    "over the batch": lambda z, m: F.softmax(z, dim=0),
    "a factor a class": lambda z, m: z * z.new_tensor([1.0, 2.0, 3.0, 4.0]),
    "a shift a class": lambda z, m: z + z.flip(1),
    "not strict": lambda z, m: torch.relu(z),
    "a factor of unknown sign": lambda z, m: z * z.mean(dim=1, keepdim=True),
    "a negative factor": lambda z, m: z * -2.0,
    "over a quantity of unknown sign": lambda z, m: z / z.sum(dim=1, keepdim=True),
    "plain": lambda z, m: z * 2 + 1,
}


@pytest.mark.parametrize(("name", "kind"), both(NO_LINK))
def test_what_may_change_a_class_stays(name, kind):
    module, *_ = built(kind, 4, NO_LINK[name])
    found, link = take_off(module, (FEATURES,), 4, None, "it")
    assert link is None
    assert found is module


PIECES = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "negative": lambda z: -z,
    "twice": lambda z: 2 * z,
    "up": lambda z: z + 0.5,
    "from": lambda z: 1 - z,
    "half": lambda z: z / 2,
    "clamp": lambda z: z.clamp(0.25, 0.75),
    "square": lambda z: z * z,
    "center": lambda z: z - z.mean(dim=1, keepdim=True),
    "softmax": lambda z: F.softmax(z, dim=1),
}


CHAINS = (st.lists(st.sampled_from(sorted(PIECES)), max_size=4), st.sampled_from([1, 3]), st.integers(0, 3))


@settings(max_examples=12, deadline=None)
@given(*CHAINS)
def test_no_chain_of_operations_is_read_as_another_class(names, outputs, seed):
    check_chain(names, outputs, seed)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(*CHAINS)
def test_no_chain_of_many_is_read_as_another_class(names, outputs, seed):
    check_chain(names, outputs, seed)


def check_chain(names: list[str], outputs: int, seed: int) -> None:
    def function(z: Tensor, m: nn.Module) -> Tensor:
        for name in names:
            z = PIECES[name](z)
        return z

    module = Ends(linear(outputs, seed), function).eval()
    found, link = take_off(module, (FEATURES,), outputs, None, "it")
    x = torch.from_numpy(inputs(200)).double() * 2
    before, after = module.double()(x), found.double()(x)
    if outputs == 1:
        threshold = 0.0 if link is None else link.threshold
        clear = (before - threshold).abs() > 1e-9
        assert bool(((before > threshold) == (after > 0))[clear].all())
    else:
        top = before.topk(2, dim=1).values
        clear = top[:, 0] - top[:, 1] > 1e-9
        assert bool((before.argmax(1) == after.argmax(1))[clear].all())


def test_a_module_that_is_called_twice_keeps_its_other_call():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Sequential(linear(FEATURES), nn.Sigmoid())
            self.first = linear(FEATURES, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.last(self.first(x)))

    module = Twice().eval()
    found, link = take_off(module, (FEATURES,), FEATURES, None, "it")
    assert link is not None
    x = torch.from_numpy(inputs())
    torch.testing.assert_close(torch.sigmoid(found(x)), module(x))


def test_an_asked_threshold_goes_through_the_link_and_is_refused_where_it_has_no_meaning():
    module, weight, bias = built("forward", 1, ONE["sigmoid"][0])
    found, link = take_off(module, (FEATURES,), 1, 0.3, "it")
    assert link == Link(module, ("sigmoid",), 0.3, asked=True)
    x = inputs()
    z = x.astype(float) @ weight[0] + bias[0]
    predicted, radius = radii(found, x)
    np.testing.assert_array_equal(predicted, 1 / (1 + np.exp(-z)) > 0.3)
    np.testing.assert_allclose(radius, np.abs(z - np.log(0.3 / 0.7)) / np.linalg.norm(weight), rtol=1e-6, atol=1e-9)
    plain, _ = take_off(linear(1), (FEATURES,), 1, 0.5, "it")
    assert isinstance(plain[-1], Threshold)
    np.testing.assert_array_equal(radii(plain, x)[0], z > 0.5)
    outside, _ = take_off(module, (FEATURES,), 1, 2.0, "it")  # no logit is above it: all are class 0
    assert not radii(outside, x)[0].any()
    with pytest.raises(ModelError, match="4 outputs"):
        take_off(linear(4), (FEATURES,), 4, 0.5, "it")


LOW, WIDTH = 0.01, 1.01
CARRIED = {
    # name: function, the inverse in 50 digits
    "sigmoid": (lambda z, m: torch.sigmoid(z), lambda t: (t / (1 - t)).ln()),
    "smoothed": (
        lambda z, m: LOW + WIDTH * torch.sigmoid(z),
        lambda t: ((t - Decimal(LOW)) / (Decimal(WIDTH) - t + Decimal(LOW))).ln(),
    ),
    "falling": (lambda z, m: 1 - torch.sigmoid(z / 3), lambda t: 3 * ((1 - t) / t).ln()),
    "log": (lambda z, m: torch.log(torch.sigmoid(z)), lambda t: (t.exp() / (1 - t.exp())).ln()),
    "log probability": (lambda z, m: F.logsigmoid(z), lambda t: (t.exp() / (1 - t.exp())).ln()),
    "tanh": (lambda z, m: torch.tanh(z), lambda t: ((1 + t) / (1 - t)).ln() / 2),
    "exponentials": (lambda z, m: torch.exp(-torch.exp(z)), lambda t: (-t.ln()).ln()),
    "hard sigmoid": (lambda z, m: F.hardsigmoid(z), lambda t: 6 * (t - Decimal("0.5"))),
}


@pytest.mark.parametrize("name", CARRIED)
def test_a_threshold_that_is_carried_lies_within_the_margin_of_where_it_is(name):
    function, inverse = CARRIED[name]
    module, *_ = built("modules", 1, function)
    for t in (-1e-9, -0.25) if name.startswith("log") else (0.3, 1 / 3, 0.5000001, 0.9, 1 - 1e-7):
        found, link = take_off(module, (FEATURES,), 1, t, "it")
        assert link.operations
        with localcontext(prec=50):
            true = inverse(Decimal(t))
            off = abs(Decimal(found.threshold.threshold) - true)
        assert off <= Decimal(found.margin.lambd)
        assert found.margin.lambd <= 1e-5
        ends = torch.tensor([[float(true)], [found.threshold.threshold]], dtype=torch.float64)
        assert not found.margin(found.threshold(ends)).any()  # so that no radius is certified there


def test_a_threshold_that_is_known_without_rounding_has_no_margin():
    for name, function in {**ONE, "exact": (lambda z, m: torch.sigmoid(2 * z - 0.5), 0.25, 1)}.items():
        module, *_ = built("forward", 1, function[0])
        found, _ = take_off(module, (FEATURES,), 1, None, "it")
        rounded = name in ("smoothed", "log of sigmoid")
        assert any(isinstance(part, nn.Softshrink) for part in found.modules()) == rounded, name


def test_a_logarithm_of_what_may_be_negative_stays():
    module, *_ = built("forward", 4, lambda z, m: torch.log(z))
    assert take_off(module, (FEATURES,), 4, None, "it") == (module, None)


@pytest.mark.parametrize("end", [nn.Sigmoid(), nn.Softmax(dim=1)])
def test_an_exported_program_loses_its_link(tmp_path, end):
    layer = linear(1 if isinstance(end, nn.Sigmoid) else 3)
    module = nn.Sequential(layer, end).eval()
    free = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(module, (torch.rand(2, FEATURES),), dynamic_shapes=free), tmp_path / "m.pt2")
    loaded = load_model(str(tmp_path / "m.pt2"))
    x = torch.from_numpy(inputs())
    torch.testing.assert_close(loaded.module(x), layer(x))
    torch.testing.assert_close(loaded.deployed(x), module(x))


FILE = """
import torch
from torch import nn

def linear():
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, -1.0]]) * {scale})
        layer.bias.fill_({bias})
    return layer

def sigmoid():
    return nn.Sequential(linear(), nn.Sigmoid())

def targets():
    return linear()

def ten():
    return nn.Linear(2, 10)
"""
WEIGHT = np.array([0.5, -1.0])


def moons(tmp_path: Path, name: str, *, scale: float = 1.0, bias: float = 0.0, **threshold: float) -> tuple:
    path = tmp_path / "net.py"
    path.write_text(FILE.format(scale=scale, bias=bias))
    model = workflows.ModelRef(ref=f"{path}:{name}", input_shape=(2,), **threshold)
    data = workflows.DataRef(spec=DataSpec(name="two-moons"), limit=60)
    return model, data, data.load(workflows.Execution().progress)


def test_a_sigmoid_is_certified_and_attacked_at_its_logit(tmp_path):
    model, data, points = moons(tmp_path, "sigmoid", bias=0.25)
    z = points.inputs.astype(float) @ WEIGHT + 0.25
    right = (z > 0) == points.labels
    exact = np.abs(z) / np.linalg.norm(WEIGHT)
    summary = workflows.certify(model, data, eps=["0.1", "0.3"], out=tmp_path / "certify").summary
    assert summary["n_correct"] == right.sum()
    assert summary["n_certified"]["pairwise"] == {e: int((right & (exact > float(e))).sum()) for e in ("0.1", "0.3")}
    attacked = workflows.attack(model, data, eps=["0.3"], out=tmp_path / "attack").summary
    assert attacked["n_correct"] == right.sum()
    assert attacked["violations"] == 0
    records = {r["index"]: r for r in map(json.loads, (tmp_path / "attack/records.jsonl").read_text().splitlines())}
    adversarials = read_adversarials(tmp_path / "attack")
    assert adversarials
    for index, point in adversarials.items():
        probability = 1 / (1 + np.exp(-(point.astype(float) @ WEIGHT + 0.25)))
        assert int(probability > 0.5) != records[index]["label"]


def test_float32_is_refused_for_a_link_by_its_name(tmp_path):
    model, data, _ = moons(tmp_path, "sigmoid")
    with pytest.raises(ModelError, match="ends in sigmoid"):
        workflows.certify(model, data, deploy_dtype="float32", out=tmp_path / "run")


def test_another_threshold_is_another_run(tmp_path):
    model, data, points = moons(tmp_path, "targets", bias=0.5)
    half, *_ = moons(tmp_path, "targets", bias=0.5, threshold=0.5)
    z = points.inputs.astype(float) @ WEIGHT + 0.5
    for ref, threshold, name in ((model, 0.0, "zero"), (half, 0.5, "half")):
        summary = workflows.certify(ref, data, out=tmp_path / name).summary
        assert summary["n_correct"] == ((z > threshold) == points.labels).sum()
    with pytest.raises(RunError):
        workflows.certify(half, data, out=tmp_path / "zero")


@pytest.mark.parametrize(("scale", "bias", "expected"), [(1.0, 0.8, True), (0.1, 0.5, True), (4.0, 0.0, False)])
def test_outputs_that_look_like_targets_are_flagged(tmp_path, scale, bias, expected):
    """A fit of 0/1 targets; numbers that all lie in [0, 1]; and a logit."""
    model, data, _ = moons(tmp_path, "targets", scale=scale, bias=bias)
    out = workflows.certify(model, data, out=tmp_path / "run").folder
    flags = json.loads((out / "manifest.json").read_text())["facts"]["flags"]
    assert [flag["name"] for flag in flags] == ["probability-output"] * expected


def test_more_outputs_than_classes_are_refused_with_a_way_out(tmp_path):
    model, data, _ = moons(tmp_path, "ten")
    with pytest.raises(ModelError, match="10 classes apart") as caught:
        workflows.certify(model, data, out=tmp_path / "run")
    assert "logits[:, :2]" in str(caught.value.hint)


@pytest.mark.parametrize("line", ["self.register_buffer('mask', torch.tensor([0.0, -math.inf]))", "self.mask = MASK"])
def test_a_mask_of_minus_infinity_is_refused_with_a_way_out(tmp_path, line):
    path = tmp_path / "net.py"
    path.write_text(
        "import math\nimport torch\nfrom torch import nn\n\nMASK = torch.tensor([0.0, -math.inf])\n\n"
        "class Masked(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        f"        self.net = nn.Linear(2, 2)\n        {line}\n\n"
        "    def forward(self, x):\n        return self.net(x) + self.mask\n"
    )
    with pytest.raises(ModelError, match="-inf") as caught:
        load_model(f"{path}:Masked", input_shape=(2,))
    assert "-1e9" in str(caught.value.hint)


def test_runs_of_two_thresholds_are_two_models_of_a_report(tmp_path):
    for threshold in (0.0, 0.5):
        model, data, _ = moons(tmp_path, "targets", threshold=threshold)
        workflows.certify(model, data, out=tmp_path / "runs" / str(threshold))
    assert len(read_evaluations([tmp_path / "runs"])) == 2


def test_a_link_that_rounds_away_the_class_is_flagged(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(
        "import torch\nfrom torch import nn\n\ndef make():\n    layer = nn.Linear(2, 2)\n    with torch.no_grad():\n"
        "        layer.weight.copy_(torch.tensor([[0.1, 0.0], [0.0, 0.1]]))\n        layer.bias.fill_(50.0)\n"
        "    return nn.Sequential(layer, nn.Sigmoid())\n"
    )
    data = workflows.DataRef(spec=DataSpec(name="two-moons"), limit=30)
    out = workflows.certify(workflows.ModelRef(ref=f"{path}:make", input_shape=(2,)), data, out=tmp_path / "run").folder
    flags = json.loads((out / "manifest.json").read_text())["facts"]["flags"]
    assert [flag["name"] for flag in flags] == ["saturated-link"]

"""Certificates within a box of inputs: what they say, what they refuse, and that attacks within the box agree."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import robench
from robench import workflows
from robench.certificates import certify as certifying
from robench.errors import BoundError, DataError, SpecError
from robench.lipschitz import lipschitz_bound
from tests.cli.conftest import invoke
from tests.lipschitz.boxed_models import Function, built

NET = """
import torch
from torch import nn

class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense, self.gate, self.head = nn.Linear(64, 16), nn.Linear(64, 16), nn.Linear(16, 10)

    def forward(self, x):
        x = x.flatten(1)
        return self.head(self.dense(x) * torch.sigmoid(self.gate(x)))

def make():
    torch.manual_seed(0)
    return Gated().eval()
"""


def gap() -> nn.Module:
    """Logits ±x₀x₁, of which the class changes where the product is 0.25."""
    return Function(lambda m, x: torch.stack((x[:, 0] * x[:, 1] - 0.25, 0.25 - x[:, 0] * x[:, 1]), 1)).eval()


def images(shape: tuple[int, ...], count: int = 40) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))


def test_a_radius_is_at_most_the_distance_within_the_box() -> None:
    x = images((2,), 200)
    found = robench.certify(gap(), x, box=(0, 1))
    assert found.box == (0.0, 1.0)
    assert found.radius.max() > 0.1
    line = torch.linspace(0.25, 1, 20001, dtype=torch.float64)
    border = torch.stack((line, 0.25 / line), 1)
    nearest = torch.cdist(x.double(), border).min(1).values.numpy()
    assert (found.radius <= nearest + 1e-4).all()


@pytest.mark.parametrize("name", ["squeeze", "matrices", "layer norm", "transformer", "mixer", "attention"])
@pytest.mark.parametrize("deploy_dtype", ["float64", "float32"])
def test_attacks_in_the_box_find_nothing_within_the_radius(name: str, deploy_dtype: str) -> None:
    model, shape = built(name)
    bound = lipschitz_bound(model, shape, box=(0, 1))
    if deploy_dtype not in bound.rounding:
        pytest.skip("no bound in this arithmetic")
    x = images(shape)
    certificates = robench.certify(model, x, bound=bound, deploy_dtype=deploy_dtype)  # type: ignore[arg-type]
    found = robench.attack(model, x, certificates.predicted, eps=2.0, attacks="deepfool", bounds=(0, 1))
    assert not robench.crosscheck(certificates, found)


def test_an_image_outside_of_the_box_is_refused() -> None:
    x = images((2,))
    x[7, 1] = 1.0 + 1e-6
    with pytest.raises(DataError, match="image 7"):
        robench.certify(gap(), x, box=(0, 1))
    with pytest.raises(DataError):
        robench.certify(gap(), x, bound=lipschitz_bound(gap(), (2,), box=(0, 1)))


def test_planted_box_that_is_not_checked_certifies_what_is_false(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certifying, "_check_in_box", lambda *given: None)
    x = torch.tensor([[20.0, 0.02]])
    found = robench.certify(gap(), x, box=(0, 1))
    other = x.clone()
    other[0, 1] = 0.25 / 20 - 1e-4
    distance = float((other - x).abs().max())
    assert found.radius[0] > distance
    assert gap()(other).argmax(1).item() != found.predicted[0]


def test_without_a_box_it_is_refused() -> None:
    with pytest.raises(BoundError) as caught:
        robench.certify(gap(), images((2,)))
    assert "--box" in caught.value.hint


def test_another_box_than_that_of_the_bound_is_refused() -> None:
    bound = lipschitz_bound(gap(), (2,), box=(0, 1))
    with pytest.raises(SpecError):
        robench.certify(gap(), images((2,)), bound=bound, box=(0, 2))


def test_an_error_without_a_bound_is_refused_by_name() -> None:
    model = nn.Sequential(nn.LayerNorm(4, eps=1e-30), nn.Linear(4, 3)).eval()
    with pytest.raises(BoundError, match="normalization"):
        robench.certify(model, images((4,)), box=(0, 1))


def test_the_constants_of_a_box_are_no_larger_than_those_of_the_whole_space() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    x = images((4,))
    everywhere, within = robench.certify(model, x), robench.certify(model, x, box=(0, 1))
    np.testing.assert_allclose(within.radius, everywhere.radius, rtol=1e-9)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(NET)
    return path


def test_runs_say_that_they_hold_within_the_box(net: Path, tmp_path: Path) -> None:
    ref = workflows.ModelRef(ref=f"{net}:make", input_shape=(1, 8, 8))
    out = tmp_path / "run"
    outcome = workflows.certify(ref, workflows.DataRef(spec=_digits(), limit=20), box="data", out=out)
    low, high = 0.0, 1.0
    assert outcome.summary["certificate"]["region"].startswith("inputs in the box [0, 1]")
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["facts"]["certificate"]["region"].startswith(f"inputs in the box [{low:g}, {high:g}]")
    assert manifest["facts"]["audit"]["box"] == manifest["spec"]["box"] == [low, high]
    with pytest.raises(SpecError, match="bounds"):
        workflows.certify(ref, workflows.DataRef(spec=_digits(), limit=20), box=(0.0, 0.5), out=tmp_path / "other")


def _digits() -> object:
    from robench.specs.data import DataSpec

    return DataSpec(name="digits")


def test_the_command_line_names_the_box(net: Path, tmp_path: Path) -> None:
    model = (f"{net}:make", "--input-shape", "1,8,8")
    refused = invoke("audit", *model)
    assert refused.code == 2
    assert "--box" in refused.stderr
    bounded = invoke("audit", *model, "--box", "0,1")
    assert bounded.code == 0
    assert "over inputs in [0, 1]" in bounded.stdout
    data = ("--data", "digits", "--limit", 5, "--out", tmp_path / "run")
    certified = invoke("certify", *model, *data, "--box", "data")
    assert certified.code == 0
    assert "inputs in the box [0, 1]" in certified.stdout
    assert invoke("audit", *model, "--box", "0;1").code == 2

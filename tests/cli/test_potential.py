"""`robench potential`: a model whose potential is known, a trained one, and one that claims too small a constant."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robench import lipschitz

LINEAR = """
import torch

def linear():
    layer = torch.nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.6, -0.8]]))
        layer.bias.fill_(0.25)
    return layer
"""
FIGURES = {f"{name}.{kind}" for name in ("outputs", "gradient-norms", "level-map") for kind in ("png", "svg")}
SAMPLE = ("--data", "two-moons", "--split", "train", "--limit", 60)


@pytest.fixture
def linear(tmp_path: Path) -> tuple[object, ...]:
    (tmp_path / "net.py").write_text(LINEAR)
    return (f"{tmp_path / 'net.py'}:linear", "--input-shape", "2")


def test_a_linear_function_is_described_exactly(robench: Any, linear: tuple[object, ...], tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = robench("potential", *linear, *SAMPLE, "--alpha", 2, "--margin", 0.5, "--out", out, "--json")
    assert result.code == 0, result.stderr
    with (out / "outputs.csv").open() as file:
        rows = list(csv.DictReader(file))
    f, y = np.array([float(row["f"]) for row in rows]), np.array([2 * int(row["label"]) - 1 for row in rows])
    assert np.allclose([float(row["gradient_norm"]) for row in rows], 1, atol=1e-6)
    separation, hinge = f[y > 0].mean() - f[y < 0].mean(), np.maximum(0.5 - y * f, 0).mean()
    duality = result.data["duality"]
    assert duality["reached"] == pytest.approx(separation - 2 * hinge, rel=1e-6)
    assert duality["optimum"] >= duality["reached"]
    assert duality["gap"] == duality["optimum"] - duality["reached"]
    assert result.data["gradient_norm"]["share_within_0.05_of_1"] == 1
    wrong = ((y > 0) & (f <= f[y < 0].max())) | ((y < 0) & (f >= f[y > 0].min()))
    assert result.data["overlap"] == pytest.approx(wrong.mean())
    assert result.data["overlap"] > 0
    assert {path.name for path in out.iterdir()} == FIGURES | {"outputs.csv", "potential.json"}
    assert json.loads((out / "potential.json").read_text()) == {
        key: value for key, value in result.data.items() if key != "folder"
    }


def test_a_trained_net_stays_below_the_optimum_of_its_own_loss(robench: Any, moons_model: Path, tmp_path: Path) -> None:
    result = robench("potential", moons_model, *SAMPLE, "--out", tmp_path / "p")
    assert result.code == 0, result.stderr
    assert "alpha 50 and margin 0.3" in result.stdout
    duality = json.loads((tmp_path / "p" / "potential.json").read_text())["duality"]
    assert duality["reached"] <= duality["optimum"]


def test_a_constant_that_is_too_small_is_found_out(
    robench: Any, linear: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the true constant is 10; the planted audit says 1
    path = tmp_path / "net.py"
    path.write_text(LINEAR.replace("[[0.6, -0.8]]", "[[6.0, -8.0]]"))
    real, found = lipschitz.lipschitz_bound, []

    def planted_audit(*given: Any) -> lipschitz.LipschitzBound:
        found.append(real(*given))
        return replace(found[-1], upper=1.0)

    monkeypatch.setattr(lipschitz, "lipschitz_bound", planted_audit)
    planted = robench("potential", *linear, *SAMPLE, "--alpha", 0, "--margin", 1, "--out", tmp_path / "out", "--json")
    assert planted.code == 1
    assert [audit.upper for audit in found] == [pytest.approx(10, rel=1e-6)]
    duality = planted.data["duality"]
    assert duality["exceeded"]
    with (tmp_path / "out" / "outputs.csv").open() as file:
        rows = [(int(row["label"]), float(row["f"])) for row in csv.DictReader(file)]
    means = [np.mean([f for label, f in rows if label == side]) for side in (0, 1)]
    assert duality["reached"] == pytest.approx(means[1] - means[0], rel=1e-6)  # not divided by the true constant


def test_refusals(robench: Any, linear: tuple[object, ...], digits_model: Path, tmp_path: Path) -> None:
    open_problem = robench("potential", *linear, *SAMPLE, "--out", tmp_path / "p")
    assert open_problem.code == 2
    assert "--alpha" in open_problem.stderr
    ten = robench("potential", digits_model, "--data", "digits", "--out", tmp_path / "p")
    assert ten.code == 2
    assert "10 logits" in ten.stderr
    assert "mnist:0-8" in ten.stderr
    assert not (tmp_path / "p").exists()

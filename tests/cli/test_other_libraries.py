"""Models of deel-torchlip and orthogonium go the whole way through the command line."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from robench.data import load
from robench.specs.data import DataSpec

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("deel.torchlip")
    pytest.importorskip("orthogonium.layers")

from tests import other_libraries


def train(name: str, path: Path, steps: int = 60) -> None:
    """A few steps on the digits; the weights as torch users save them, parametrizations and all."""
    torch.manual_seed(0)
    network = getattr(other_libraries, name)()
    digits = load(DataSpec(name="digits"), "train")
    inputs, labels = torch.from_numpy(digits.inputs), torch.from_numpy(digits.labels)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    network.train()
    for step in range(steps):
        part = slice(step % 8 * 128, step % 8 * 128 + 128)
        optimizer.zero_grad()
        functional.cross_entropy(8 * network(inputs[part]), labels[part]).backward()
        optimizer.step()
    torch.save(network.eval().state_dict(), path)


@pytest.mark.parametrize("name", ["by_torchlip", "by_orthogonium"])
def test_audited_certified_and_attacked(robench: Any, tmp_path: Path, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(name, tmp_path / "weights.pt")
    file = Path(other_libraries.__file__)
    model = (f"{file}:{name}", "--weights", tmp_path / "weights.pt", "--input-shape", "1,8,8")

    audited = robench("audit", *model, "--json")
    assert audited.code == 0, audited.stderr
    assert audited.data["lipschitz_lower"] <= audited.data["lipschitz_upper"] <= 2

    data = ("--data", "digits", "--limit", 40, "--eps", "0.1,2")
    certified = robench("certify", *model, *data, "--out", tmp_path / "certify", "--json")
    assert certified.code == 0, certified.stderr
    attacks = ("--attack", "pgd:steps=10", "--attack", "deepfool")
    attacked = robench("attack", *model, *data, *attacks, "--out", tmp_path / "attack", "--json")
    assert attacked.code == 0, attacked.stderr
    assert attacked.data["violations"] == 0
    lower, upper = certified.data["n_certified"]["pairwise"], attacked.data["n_robust"]["combined"]
    assert certified.data["n_correct"] > 20
    assert lower["0.1"] > 0
    assert all(lower[eps] <= upper[eps] for eps in upper)
    assert upper["2"] < upper["0.1"]
    refused = robench("verify", tmp_path / "attack")
    assert refused.code == 2
    assert "only robench's own layers" in refused.stderr

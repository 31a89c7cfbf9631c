"""A wrong certificate is caught: exit 1, the image and both numbers stored, and `verify` confirms it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from robench import lipschitz
from robench.models import LoadedModel

EPS = "0.02,0.05,0.1,0.5,1"
ATTACKS = ("--attack", "deepfool", "--attack", "pgd")


def test_a_halved_constant_is_contradicted(
    robench: Any, moons_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ("attack", moons_model, "--data", "two-moons", "--limit", 20, "--eps", EPS, *ATTACKS)
    assert robench(*argv, "--out", tmp_path / "sound").code == 0
    assert json.loads((tmp_path / "sound" / "contradictions.json").read_text()) == {"contradictions": []}
    assert robench("verify", tmp_path / "sound").code == 0

    honest = lipschitz.lipschitz_bound

    def halved(*args: Any) -> Any:
        audit = honest(*args)
        changes = {
            "upper": audit.upper / 2,
            "pairwise": audit.pairwise / 2,
            "paper": audit.paper / 2,
        }
        return dataclasses.replace(audit, **changes)

    monkeypatch.setattr(lipschitz, "lipschitz_bound", halved)
    result = robench(*argv, "--out", tmp_path / "faulty", "--full", "--json")
    assert result.code == 1
    assert "CONTRADICTION" in result.stderr
    assert result.data["violations"] > 0
    stored = json.loads((tmp_path / "faulty" / "contradictions.json").read_text())["contradictions"]
    assert len(stored) == result.data["violations"]
    assert all(item["distance"] < item["radius"] for item in stored)
    assert robench("verify", tmp_path / "faulty").code == 1


@pytest.fixture(scope="module")
def linear_model(robench: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hyperplane: its certified radius is the distance to it."""
    folder = tmp_path_factory.mktemp("linear")
    (folder / "layers.json").write_text(json.dumps({"layers": [{"type": "head"}]}))
    argv = ("--arch", folder / "layers.json", "--epochs", 2, "--out", folder / "model")
    result = robench("train", "--recipe", "hkr", "--data", "two-moons", *argv)
    assert result.code == 0, result.stderr
    return folder / "model"


@pytest.mark.parametrize("noticed", [True, False])
def test_weights_that_change_after_the_audit(
    robench: Any, linear_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noticed: bool
) -> None:
    """Weights 1.05 times as large: refused by their digest, and contradicted where the digest does not tell."""
    honest = lipschitz.lipschitz_bound

    def stale(model: LoadedModel) -> Any:
        bound = honest(model)
        with torch.no_grad():
            for parameter in model.module.parameters():
                parameter.mul_(1.05)
        return bound if noticed else dataclasses.replace(bound, fingerprint=honest(model).fingerprint)

    argv = ("attack", linear_model, "--data", "two-moons", "--limit", 20, "--eps", EPS, *ATTACKS, "--full")
    if not noticed:
        assert robench(*argv, "--out", tmp_path / "sound").code == 0
    monkeypatch.setattr(lipschitz, "lipschitz_bound", stale)
    out = tmp_path / "stale"
    result = robench(*argv, "--out", out)
    if noticed:
        assert result.code == 2
        assert "not those that were bounded" in result.stderr
        return
    assert result.code == 1
    assert "CONTRADICTION" in result.stderr
    stored = json.loads((out / "contradictions.json").read_text())["contradictions"]
    assert stored
    assert all(item["distance"] < item["radius"] for item in stored)
    assert robench("verify", out).code == 1

"""A wrong certificate is caught: exit 1, the image and both numbers stored, and `verify` confirms it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from robench import api

EPS = "0.02,0.05,0.1,0.5,1"


def test_a_halved_constant_is_contradicted(
    robench: Any, moons_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ("attack", moons_model, "--data", "two-moons", "--limit", 40, "--eps", EPS)
    assert robench(*argv, "--out", tmp_path / "sound").code == 0
    assert json.loads((tmp_path / "sound" / "contradictions.json").read_text()) == {"contradictions": []}
    assert robench("verify", tmp_path / "sound").code == 0

    honest = api.lipschitz.audit

    def halved(*args: Any) -> Any:
        audit = honest(*args)
        changes = {
            "lipschitz_upper": audit.lipschitz_upper / 2,
            "pairwise": audit.pairwise / 2,
            "paper": audit.paper / 2,
        }
        return dataclasses.replace(audit, **changes)

    monkeypatch.setattr(api.lipschitz, "audit", halved)
    result = robench(*argv, "--out", tmp_path / "faulty", "--full", "--json")
    assert result.code == 1
    assert "CONTRADICTION" in result.stderr
    assert result.data["violations"] > 0
    stored = json.loads((tmp_path / "faulty" / "contradictions.json").read_text())["contradictions"]
    assert len(stored) == result.data["violations"]
    assert all(item["distance"] < item["radius"] for item in stored)
    assert robench("verify", tmp_path / "faulty").code == 1

"""The examples of docs/adding-a-rule.md."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import pytest
import torch

from robench.errors import BoundError
from robench.lipschitz import bound_module
from robench.lipschitz.rules import registered
from robench.lipschitz.rules.table import RULES
from tests.lipschitz.forms import Form

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-rule.md"


def run(example: str) -> dict[str, Any]:
    block = GUIDE.read_text(encoding="utf-8").split(f"<!-- {example} -->\n```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(block, names)
    return names


def test_a_layer_is_registered(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(RULES, "modules", dict(RULES.modules))
    names = run("a layer")
    first, _, last = names["model"]
    norms = [float(torch.linalg.matrix_norm(layer.weight.detach().double(), 2)) for layer in (first, last)]
    assert float(capsys.readouterr().out) == pytest.approx(norms[0] * norms[1])


def test_an_operation_gets_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Form(lambda x: torch.hypot(x, -x)).eval()
    with pytest.raises(BoundError, match="no Lipschitz rule"):
        bound_module(network, (3,))
    monkeypatch.setitem(RULES.operations, "aten.hypot", run("an operation")["hypot"])
    assert bound_module(network, (3,)).upper == pytest.approx(2**0.5)


def test_the_example_of_register_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RULES, "modules", dict(RULES.modules))
    failed, attempted = doctest.testmod(registered)
    assert attempted
    assert not failed

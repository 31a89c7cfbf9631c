"""The commands as functions take what a user writes first: plain paths, names, numbers and fractions."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from robench import workflows
from robench.errors import DataError, RunError, SpecError
from robench.specs.data import DataSpec

NET = "import torch\ntorch.manual_seed(0)\nnet = torch.nn.Linear(2, 1)"


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path}/net.py:net"


def test_plain_and_typed_arguments_give_one_run(net: str, tmp_path: Path) -> None:
    plain = workflows.certify(net, "two-moons", eps=[0.5, Fraction(1, 4), "1"], out=f"{tmp_path}/run")
    typed = workflows.certify(
        workflows.ModelRef(net),
        workflows.DataRef(DataSpec(name="two-moons"), split="test"),
        eps=("1/4", "0.5", "1"),
        out=tmp_path / "run",
    )
    assert plain.folder == typed.folder == tmp_path / "run"
    assert plain.summary["reused"] == 0
    assert typed.summary["reused"] == typed.summary["n"] == 1000
    assert list(plain.summary["n_certified"]["pairwise"]) == ["1/4", "0.5", "1"]
    assert typed.summary["n_certified"] == plain.summary["n_certified"]


def test_texts_serve_for_paths(net: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(size=(12, 2)).astype(np.float32)
    np.savez(tmp_path / "points.npz", x_test=x, y_test=np.arange(12) % 2)
    data = workflows.DataRef("npz:points.npz", data_dir=str(tmp_path), limit=5)
    attacked = workflows.attack(net, data, eps=0.1, attacks={"fgsm": {}}, out=str(tmp_path / "attack"))
    assert attacked.summary["n"] == 5
    with pytest.raises(RunError, match="not a model folder"):
        workflows.verify(str(attacked.folder))
    page = workflows.report([str(attacked.folder)], str(tmp_path / "report"))
    assert page.is_file()
    assert workflows.audit(workflows.ModelRef(net, input_shape=[2]))["lipschitz_upper"] > 0


@pytest.mark.parametrize("eps", [-1.0, 0, "much", None, [], float("nan"), [True]])
def test_a_radius_that_is_none_is_refused_before_anything_is_read(eps: object) -> None:
    with pytest.raises(SpecError):
        workflows.certify("nowhere", "two-moons", eps=eps)


def test_a_split_that_is_none_is_refused_by_name(net: str) -> None:
    with pytest.raises(DataError, match="no split `tset`") as caught:
        workflows.certify(net, workflows.DataRef("two-moons", split="tset"))  # type: ignore[arg-type]
    assert "did you mean `test`" in caught.value.hint

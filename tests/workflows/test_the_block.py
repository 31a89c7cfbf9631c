"""The block of docs/design/0012 runs as it stands: on a module made here, and on MNIST."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "design" / "0012-in-memory.md").read_text(), re.DOTALL)[0]
DATA = Path(os.environ.get("ROBENCH_TEST_DATA", ROOT.parent / "shared" / "data"))

BEFORE = """
import robench
import torch
from robench import workflows
torch.manual_seed(0)
"""
ON_THE_SPOT = """
x, y = torch.rand(24, 1, 28, 28), torch.arange(24) % 2
data, changes = "two-moons", {}
"""
ON_MNIST = """
x, y = robench.load_data("mnist", limit=24).arrays()
data, changes = "mnist", {"limit": 64}
"""
RUNS = """
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 12), torch.nn.ReLU(), torch.nn.Linear(12, 10))
model.eval()
spec = workflows.train_spec("hkr", data, epochs=1, changes=changes)
workflows.train(spec, "runs/hkr")
attacked = workflows.DataRef(data, limit=5)
workflows.attack("runs/hkr", attacked, eps=[0.1], attacks={"fgsm": {}}, out="runs/attack-hkr")
"""
AFTER = """
assert bound.lower <= bound.upper and bound.pairwise.shape == (10, 10)
assert radii.radius.shape == found.distance.shape == (24,)
assert not robench.crosscheck(radii, found) and not found.contradictions
assert found.robust_accuracy("1") >= radii.certified_accuracy(1.0, y)
assert model.input_shape == ((2,) if data == "two-moons" else (1, 28, 28))
assert len(frame) == 5
"""


def run(prelude: str) -> None:
    code = BEFORE + prelude + RUNS + BLOCK.replace("epochs=5", "epochs=1") + AFTER
    exec(compile(code, "block", "exec"), {"__name__": "__main__"})


def test_on_a_module_made_on_the_spot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(ON_THE_SPOT)


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "mnist").is_dir(), reason="no MNIST files; set ROBENCH_TEST_DATA")
def test_on_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROBENCH_DATA_DIR", str(DATA))
    run(ON_MNIST)

"""Two identical commands with an edit of the model between them: the second never prints what the first computed."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from torch import nn

from robench.data import load
from robench.models import save_model
from robench.models.build import build
from robench.progress import NoProgress
from robench.specs.data import DataSpec
from robench.specs.model import ModelDescription

NET = """
import torch
from torch import nn
import scaling

class Act(nn.Module):
    def __init__(self, gain={gain}, number={number}):
        super().__init__()
        self.gain, self.number = gain, number
        self.register_buffer("mask", torch.full((1,), {mask}), persistent=False)
        self.shift = torch.full((1,), {shift})
    def forward(self, x):
        return scaling.scale(torch.{function}(x) * self.gain * self.mask + self.shift) * self.number

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), Act(), nn.Linear(8, 10))
"""
HELPER = "def scale(x):\n    return x * {helper}\n"
VALUES: dict[str, Any] = {
    "gain": 1.0, "number": 2.0, "mask": 0.5, "shift": 0.25, "function": "relu", "helper": 1.5, "weight": 0.0,
}  # fmt: skip
FUNCTIONS = {
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, **changes: Any) -> dict[str, Any]:
    """The model's files as they are written first, or with changes; what an import kept of them is forgotten."""
    values = {**VALUES, **changes}
    (folder / "net.py").write_text(NET.format(**values))
    (folder / "scaling.py").write_text(HELPER.format(**values))
    rng = np.random.default_rng(0)
    shapes = {"1.weight": (8, 64), "1.bias": (8,), "3.weight": (10, 8), "3.bias": (10,)}
    state = {name: rng.standard_normal(shape).astype(np.float32) / 4 for name, shape in shapes.items()}
    state["3.weight"][2, 3] += np.float32(values["weight"])
    safetensors.numpy.save_file(state, folder / "w.safetensors")
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    sys.modules.pop("scaling", None)
    return {**values, **state}


def logits(values: dict[str, Any], x: np.ndarray) -> np.ndarray:
    """The model in numpy float64."""
    w = {name: np.float64(value) for name, value in values.items() if "." in name}
    z = FUNCTIONS[values["function"]](x.reshape(len(x), -1) @ w["1.weight"].T + w["1.bias"])
    mask, shift = float(np.float32(values["mask"])), float(np.float32(values["shift"]))  # tensors hold float32
    z = (z * values["gain"] * mask + shift) * values["helper"] * values["number"]
    return z @ w["3.weight"].T + w["3.bias"]


N = 12
DATA = ("--data", "digits", "--limit", N, "--json")
MODEL = ("net.py:make", "--weights", "w.safetensors", "--input-shape", "1,8,8")


def require_margins(run: Path, values: dict[str, Any]) -> None:
    """The records are of the network that the files now say, computed by numpy."""
    x = load(DataSpec(name="digits"), "test", data_dir=None, progress=NoProgress()).batch(np.arange(N))
    scores = logits(values, x.astype(np.float64))
    lines = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    assert [line["predicted"] for line in lines] == scores.argmax(axis=1).tolist()
    for line, row in zip(lines, scores, strict=True):
        assert line["margin"] == pytest.approx(row[line["predicted"]] - row[line["runner_up"]], rel=1e-6)


def edits(seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    return {
        name: "tanh" if name == "function" else value + rng.choice([-1, 1]) * rng.choice([0.1, 0.2])
        for name, value in VALUES.items()
    }


@pytest.mark.parametrize("name", list(VALUES))
def test_an_edited_factory_is_certified_anew(robench: Any, folder: Path, name: str) -> None:
    write(folder)
    first = robench("certify", *MODEL, *DATA, "--out", "mine")
    assert first.data["reused"] == 0, first.stderr
    values = write(folder, **{name: edits(1)[name]})
    refused = robench("certify", *MODEL, *DATA, "--out", "mine")
    assert refused.code == 2
    assert "`function_sha256` is " in refused.stderr
    assert refused.stderr.count(" there and ") >= (2 if name != "weight" else 1)
    assert robench("certify", *MODEL, *DATA).data["reused"] == 0
    (fresh,) = (folder / "runs").iterdir()
    require_margins(fresh, values)
    again = robench("certify", *MODEL, *DATA)
    assert again.data["reused"] == N
    assert f"note: reused {N} of {N} records from `runs/certify-" in again.stderr


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_one_random_edit_after_another(robench: Any, folder: Path, seed: int) -> None:
    """Whatever is edited, and edited back: each answer is of the network that the files say."""
    rng, changes = random.Random(seed), {}
    for _ in range(5):
        name = rng.choice(list(VALUES))
        changes[name] = rng.choice([VALUES[name], edits(rng.randint(0, 9))[name]])
        values = write(folder, **changes)
        before = {path.name for path in (folder / "runs").glob("*")}
        result = robench("certify", *MODEL, *DATA)
        run = Path(result.stderr.split("run folder: ")[1].strip())
        assert (result.data["reused"] == N) == (run.name in before)
        require_margins(run, values)


def test_an_edited_factory_is_attacked_anew(robench: Any, folder: Path) -> None:
    write(folder)
    command = ("attack", *MODEL, *DATA, "--eps", "0.5", "--attack", "fgsm")
    assert robench(*command, "--out", "mine").data["reused"] == 0
    again = robench(*command, "--out", "mine")
    assert again.data["reused"] == N
    assert f"reused {N} of {N} records" in again.stderr
    assert "reused" not in json.loads((folder / "mine" / "summary.json").read_text())
    write(folder, function="tanh")
    refused = robench(*command, "--out", "mine")
    assert refused.code == 2
    assert "`function_sha256` is " in refused.stderr
    assert "delete" not in refused.stderr


BRANCH = """
from torch import nn

class Branch(nn.Module):
    def forward(self, x):
        return x * 2 if float(x.detach().abs().sum()) > 3 else x

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), Branch(), nn.Linear(8, 10))
"""


def test_a_model_that_branches_on_values_is_told_apart_and_said_so(robench: Any, folder: Path) -> None:
    write(folder)
    (folder / "net.py").write_text(BRANCH)
    command = ("attack", *MODEL, *DATA, "--eps", "0.5", "--attack", "fgsm")
    for text, reused in ((BRANCH, 0), (BRANCH, N), (BRANCH.replace("> 3", "> 1e9"), 0)):
        (folder / "net.py").write_text(text)
        result = robench(*command)
        assert "depends on values of its input" in result.stderr
        assert result.data["reused"] == reused


def description(**changes: Any) -> ModelDescription:
    layers = [{"type": "flatten"}, {"type": "dense", "units": 8}, {"type": "activation", "kind": "relu"}]
    spec = {"input_shape": [1, 8, 8], "classes": 10, "outputs": 10, "layers": [*layers, {"type": "head"}], **changes}
    return ModelDescription.from_dict({"name": "m", "model": spec})


def save(folder: Path, seed: int, **changes: Any) -> None:
    torch.manual_seed(seed)
    save_model(folder, build(description(**changes).model).eval(), description(**changes))


def test_a_model_folder_retrained_in_place_is_another_model(robench: Any, folder: Path) -> None:
    save(folder / "m", 0)
    command = ("certify", "m", *DATA)
    first = robench(*command, "--out", "mine")
    for changes in ({"seed": 1}, {"seed": 0, "normalization": {"mean": [0.5], "std": [0.5]}}):
        save(folder / "m", **changes)
        assert robench(*command, "--out", "mine").code == 2
        assert robench(*command).data["reused"] == 0
    save(folder / "m", 0)
    assert robench(*command, "--out", "mine").data == {**first.data, "reused": N}


def test_an_edited_model_json_is_refused_or_the_same_function(robench: Any, folder: Path) -> None:
    save(folder / "m", 0)
    command = ("certify", "m", *DATA, "--out", "mine")
    first = robench(*command)
    file = folder / "m" / "model.json"
    text = file.read_text()
    for old, new in (('"relu"', '"groupsort2"'), ('"relu"', '"fullsort"'), ('"bias": true', '"bias": false')):
        assert old in text
        file.write_text(text.replace(old, new))
        assert robench(*command).code == 2
    file.write_text(text.replace('"name": "m"', '"name": "renamed"'))
    assert robench(*command).data == {**first.data, "reused": N}


@pytest.mark.slow
def test_a_program_written_again_is_another_model(robench: Any, folder: Path) -> None:
    torch.manual_seed(0)
    first, last = nn.Linear(64, 8), nn.Linear(8, 10)
    reused = []
    for act in (nn.ReLU(), nn.Tanh(), nn.ReLU()):
        network = nn.Sequential(nn.Flatten(), first, act, last).eval()
        batch = ({0: torch.export.Dim("batch", min=1)},)
        torch.export.save(torch.export.export(network, (torch.rand(2, 1, 8, 8),), dynamic_shapes=batch), "net.pt2")
        reused.append(robench("certify", "net.pt2", *DATA).data["reused"])
    assert reused[:2] == [0, 0]


def test_a_run_without_the_new_digests_is_refused_by_name_and_still_read(robench: Any, folder: Path) -> None:
    save(folder / "m", 0)
    command = ("certify", "m", *DATA, "--out", "old")
    robench(*command)
    file = folder / "old" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["identity"] = {name: manifest["identity"][name] for name in ("weights_sha256", "data_sha256")}
    file.write_text(json.dumps({**manifest, "parents": []}))
    refused = robench(*command)
    assert refused.code == 2
    assert "does not note `function_sha256`" in refused.stderr
    assert robench("verify", "old").code == 0


def test_a_finished_certify_run_keeps_every_radius_that_was_asked(robench: Any, folder: Path) -> None:
    save(folder / "m", 0)
    command = ("certify", "m", *DATA, "--out", "mine", "--eps")
    first = robench(*command, "0.1,1/2")
    stored = (folder / "mine" / "summary.json").read_bytes()
    manifest = (folder / "mine" / "manifest.json").read_bytes()
    assert robench(*command, "0.50,0.1").data["n_certified"]["paper"] == {
        "0.1": first.data["n_certified"]["paper"]["0.1"],
        "0.50": first.data["n_certified"]["paper"]["1/2"],
    }
    assert (folder / "mine" / "summary.json").read_bytes() == stored
    assert (folder / "mine" / "manifest.json").read_bytes() == manifest
    assert list(robench(*command, "0.3,2").data["certified_accuracy"]["pairwise"]) == ["0.3", "2"]
    summary = json.loads((folder / "mine" / "summary.json").read_text())
    whole = robench("certify", "m", *DATA, "--out", "whole", "--eps", "0.1,0.3,1/2,2").data
    for key in ("certified_accuracy", "n_certified"):
        assert summary[key] == whole[key]
        assert list(summary[key]["paper"]) == ["0.1", "0.3", "1/2", "2"]
    more = robench("certify", "m", "--data", "digits", "--limit", N + 5, "--json", "--out", "mine", "--eps", "1")
    assert more.data["reused"] == N
    summary = json.loads((folder / "mine" / "summary.json").read_text())
    assert list(summary["n_certified"]["paper"]) == ["0.1", "0.3", "1/2", "1", "2"]
    assert summary["n"] == N + 5


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"function": "tanh"}, {"gain": 1.1}, {"helper": 1.6}])
def test_two_processes_with_an_edit_between_them(folder: Path, change: dict[str, Any]) -> None:
    """As a user types it: nothing of the first process is there but its files."""
    argv = [sys.executable, "-m", "robench", "certify", *map(str, (*MODEL, *DATA))]
    reused = []
    for changes in ({}, {}, change):
        values = write(folder, **changes)
        run = subprocess.run(argv, capture_output=True, text=True, check=True)
        reused.append(json.loads(run.stdout)["reused"])
        require_margins(folder / run.stderr.split("run folder: ")[1].strip(), values)
    assert reused == [0, N, 0]

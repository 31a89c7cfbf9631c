"""Models that say the same of every image, and data that cannot tell: never a good-looking answer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

FACTORY = """
import torch
from torch import nn

class Jump(nn.Module):
    def forward(self, x):
        return torch.fft.fft(x).abs()

def one(): return nn.Sequential(nn.Flatten(), nn.Linear(6, 1))
def many(): return nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
def refused(): return nn.Sequential(nn.Flatten(), Jump(), nn.Linear(6, 1))
"""


def model(folder: Path, name: str, bias: list[float], scale: float = 1e-3) -> list[Any]:
    """Options that name a linear model; a small weight and a large bias make it constant on [0, 1]."""
    (folder / "net.py").write_text(FACTORY)
    place = "2" if name == "refused" else "1"
    weight = scale * torch.linspace(-1, 1, 6 * len(bias)).reshape(len(bias), 6)
    save_file({f"{place}.weight": weight, f"{place}.bias": torch.tensor(bias)}, folder / "w.safetensors")
    return [f"{folder / 'net.py'}:{name}", "--weights", folder / "w.safetensors", "--input-shape", "6"]


def data(folder: Path, shares: list[int]) -> list[Any]:
    """Options that name points with so many test examples of each class."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(shares)), shares)
    x = rng.random((len(labels), 6)).astype(np.float32)
    np.savez(folder / "d.npz", x_train=x, y_train=labels, x_test=x, y_test=labels)
    return ["--data", f"npz:{folder / 'd.npz'}", "--eps", "0.01,0.1"]


def flags(result: Any) -> list[str]:
    return [flag["name"] for flag in result.data["flags"]]


@pytest.mark.parametrize(
    ("name", "bias", "shares", "says"),
    [("one", [-3.0], [36, 14], "0"), ("one", [3.0], [14, 36], "1"), ("many", [0.0, 0.0, 5.0], [8, 12, 30], "2")],
)
def test_a_constant_is_flagged_and_fails_the_gate(robench, tmp_path, name, bias, shares, says) -> None:
    arguments = [*model(tmp_path, name, bias), *data(tmp_path, shares)]
    for command, more in (("certify", []), ("attack", ["--attack", "fgsm"])):
        run = [command, *arguments, *more, "--out", tmp_path / command]
        plain = robench(*run, "--json")
        assert plain.code == 0, plain.stderr
        assert flags(plain)[0] == "constant-prediction"
        assert plain.data["base_rate"] == max(shares) / 50
        assert {
            label: facts["n_predicted"] for label, facts in plain.data["by_class"].items() if facts["n_predicted"]
        } == {says: 50}
        gate = robench(*run, "--fail-under", "0.1")
        assert gate.code == 1
        assert "predicts one class for all 50 images" in gate.stderr
        assert "predicts one class for all 50 images" in robench(*run, "--fail-under", "0.1", "-q").stderr
        assert "base rate" in gate.stdout
    page = tmp_path / "report"
    assert robench("report", tmp_path / "certify", tmp_path / "attack", "--out", page).code == 0
    text = (page / "report.md").read_text()
    before_numbers = text[: text.index("## Curves")]
    assert f"class {says} is predicted for all 50 images" in before_numbers
    assert "constant-prediction" in (page / "tables" / "flags.csv").read_text()


def test_one_image_and_one_class_are_said_to_tell_nothing_and_pass_the_gate(robench, tmp_path) -> None:
    arguments = [*model(tmp_path, "one", [-3.0]), *data(tmp_path, [36, 14])]
    for limit in (1, 20):
        run = ["certify", *arguments, "--limit", limit, "--out", tmp_path / str(limit)]
        assert flags(robench(*run, "--json")) == ["one-class-data"]
        assert robench(*run, "--fail-under", "0.5").code == 0


def test_a_model_above_chance_has_no_flag(robench, tmp_path) -> None:
    rng = np.random.default_rng(1)
    x = rng.random((60, 6)).astype(np.float32)
    score = x @ np.linspace(-1, 1, 6)
    np.savez(tmp_path / "d.npz", x_train=x, y_train=(score > 0) * 1, x_test=x, y_test=(score > 0) * 1)
    arguments = [*model(tmp_path, "one", [0.0], scale=1.0), "--data", f"npz:{tmp_path / 'd.npz'}", "--eps", "0.01"]
    assert flags(robench("certify", *arguments, "--out", tmp_path / "c", "--json")) == []


def test_a_model_that_the_audit_refuses_has_no_certified_rate(robench, tmp_path) -> None:
    arguments = [*model(tmp_path, "refused", [-0.01], scale=0.1), *data(tmp_path, [30, 20])]
    run = ["attack", *arguments, "--attack", "pgd", "--out", tmp_path / "a"]
    summary = robench(*run, "--json").data
    assert summary["certified_accuracy"] == summary["n_certified"] == {"pairwise": {"0.01": None, "0.1": None}}
    assert all(
        facts["n_certified"] == {"pairwise": {"0.01": None, "0.1": None}} for facts in summary["by_class"].values()
    )
    row = next(line for line in robench(*run).stdout.splitlines() if "certified" in line and "│" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["certified", "–", "–"]
    robench("report", tmp_path / "a", "--out", tmp_path / "r")
    bounds = (tmp_path / "r" / "tables" / "comparison-01-bounds.csv").read_text()
    assert all(line.endswith("–,–,–") for line in bounds.splitlines() if "certified" in line)


def test_the_terminal_rounds_each_number_its_way(robench, tmp_path) -> None:
    """Thirds have no finite decimal: certified goes down, attacked and clean go up, counts stay."""
    arguments = [*model(tmp_path, "one", [-0.02], scale=0.3), *data(tmp_path, [40, 20])]
    run = ["attack", *arguments, "--attack", "fgsm", "--attack", "pgd", "--out", tmp_path / "a"]
    summary, shown = robench(*run, "--json").data, robench(*run).stdout
    table = {
        cells[0]: cells[1:]
        for line in shown.splitlines()
        if len(cells := [cell.strip() for cell in line.strip().strip("│┃").replace("┃", "│").split("│")]) == 3
    }
    for place, text in enumerate(("0.01", "0.1")):
        assert (
            table["certified"][place] == f"{np.floor(1000 * summary['n_certified']['pairwise'][text] / 60) / 10:.1f} %"
        )
        assert table["combined"][place] == f"{np.ceil(1000 * summary['n_robust']['combined'][text] / 60) / 10:.1f} %"
        for name in ("fgsm", "pgd"):
            given, broke = summary["budget"][name]["given"], summary["n_broke"][name][text]
            assert table[f"{name} broke"][place] == (f"{broke} of {given}" if given else "–")
    assert f"({summary['n_correct']} of 60), base rate 66.7 %" in shown
    records = [json.loads(line) for line in (tmp_path / "a" / "records.jsonl").read_text().splitlines()]
    for name in ("fgsm", "pgd"):
        given = [record["attacks"][name] for record in records if record["attacks"][name]["status"] != "not_run"]
        broken = [outcome["distance"] for outcome in given if outcome["distance"] is not None]
        assert summary["budget"][name]["given"] == len(given)
        assert summary["n_broke"][name]["0.1"] == sum(distance <= 0.1 for distance in broken)

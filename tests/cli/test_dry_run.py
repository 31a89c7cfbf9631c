"""`--dry-run` says what the command then does, and writes nothing."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_json import described

ON = ("--data", "two-moons", "--limit")


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("command", ["certify", "attack"])
def test_a_run_is_foreseen_where_it_then_lands(
    robench: Any, moons_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    more = ("--eps", "0.1", "--attack", "fgsm") if command == "attack" else ("--box", "data")
    plan = robench(command, moons_model, *ON, 12, *more, "--dry-run", "--json").data
    assert files(tmp_path) == set()
    assert set(plan) == described("Every command") | described("dry-run")
    assert (plan["n"], plan["n_done"], plan["n_left"], plan["status"]) == (12, 0, 12, None)
    done = robench(command, moons_model, *ON, 12, *more, "--json").data
    assert done["folder"] == plan["folder"]
    again = (command, moons_model, *ON, 20, *more, "--out", done["folder"], "--dry-run")
    plan = robench(*again, "--json").data
    assert (plan["n_done"], plan["n_left"], plan["status"], plan["differs"]) == (12, 8, "success", [])
    assert "12 images are done, 8 are left" in robench(*again).stdout
    other = ("--eps", "0.3", "--attack", "fgsm") if command == "attack" else ("--deploy-dtype", "float32")
    refused = robench(command, moons_model, *ON, 20, *other, "--out", done["folder"], "--dry-run")
    assert refused.code == 0
    assert "would be refused" in refused.stdout


def test_a_training_is_foreseen(robench: Any, moons_model: Path, tmp_path: Path) -> None:
    train = ("train", "--recipe", "hkr", "--data", "two-moons", "--epochs", 5, "--dry-run", "--json", "--out")
    plan = robench(*train, tmp_path / "new").data
    assert files(tmp_path) == set()
    assert (plan["n"], plan["n_done"], plan["n_left"], plan["status"]) == (2000, 0, 5, None)
    plan = robench(*train, moons_model).data
    assert (plan["n_done"], plan["n_left"], plan["status"], plan["differs"]) == (5, 0, "success", [])


def test_a_bench_is_foreseen(robench: Any, tmp_path: Path) -> None:
    out = tmp_path / "bench"
    plan = robench("bench", "--only", "hkr,plain", "--dry-run", "--json", "--out", out).data
    assert not out.exists()
    assert [(row["data"], row["model"]) for row in plan["models"]] == [
        (data, model) for data in ("two-moons", "digits") for model in ("hkr", "plain")
    ]
    assert all(row["n_done"] == 0 < row["n_left"] and row["n_attacked"] == [200] for row in plan["models"])
    assert "epochs left" in robench("bench", "--only", "hkr", "--dry-run", "--out", out).stdout

"""`robench.read`: the cells of the frame against the lines of `records.jsonl`."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import robench
from robench.errors import RunError
from tests.reporting.synthetic import ATTACKS, Synthetic


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def test_a_certify_run_has_a_row_an_image(tmp_path: Path) -> None:
    folder = Synthetic().write_certify(tmp_path / "c", 40)
    frame = robench.read(folder)
    raw = pd.DataFrame(lines(folder))
    for name in ("index", "label", "predicted", "runner_up", "margin", "status"):
        assert frame[name].tolist() == raw[name].tolist()
    right = raw["label"] == raw["predicted"]
    assert (frame["correct"] == right).all()
    assert 0 < right.sum() < 40
    assert frame["certified_radius"].tolist() == raw["radius_pairwise"].where(right, 0.0).tolist()
    assert frame["certified_radius_paper"].tolist() == raw["radius_paper"].where(right, 0.0).tolist()
    assert frame["certified_radius_pairwise"].tolist() == frame["certified_radius"].tolist()
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        "run": "category", "model": "category", "data": "category", "command": "category",
        "index": "int64", "label": "int64", "predicted": "int64", "correct": "bool", "certified_radius": "float64",
        "certified_radius_paper": "float64", "certified_radius_pairwise": "float64",
        "margin": "float64", "runner_up": "Int64", "status": "category",
    }  # fmt: skip


@pytest.mark.parametrize("full", [False, True])
def test_an_attack_run_has_columns_for_each_attack(tmp_path: Path, full: bool) -> None:
    folder = Synthetic().write_attack(tmp_path / "a", 40, full=full)
    frame = robench.read(str(folder))
    for row, line in zip(frame.to_dict("records"), lines(folder), strict=True):
        assert np.isnan(row["distance"]) if line["distance"] is None else row["distance"] == line["distance"]
        assert pd.isna(row["attack"]) if line["attack"] is None else row["attack"] == line["attack"]
        for name in ATTACKS:
            outcome = line["attacks"][name]
            assert row[f"{name}_status"] == outcome["status"]
            assert pd.isna(row[f"{name}_distance"]) == (outcome["distance"] is None)
            assert pd.isna(row[f"{name}_predicted"]) or row[f"{name}_predicted"] == outcome["predicted"]
    assert str(frame["fgsm_predicted"].dtype) == "Int64"
    assert str(frame["fgsm_distance"].dtype) == "float64"


def test_several_runs_stand_below_each_other(tmp_path: Path) -> None:
    Synthetic().write_certify(tmp_path / "c", 30)
    Synthetic(name="net", data="digits", seed=1).write_attack(tmp_path / "a", 20)
    frame = robench.read(tmp_path)
    kinds = frame[["run", "model", "data", "command"]].drop_duplicates().to_numpy().tolist()
    assert kinds == [["a", "net", "digits test", "attack"], ["c", "hkr", "mnist test", "certify"]]
    assert frame.groupby("run", observed=True).size().to_dict() == {"a": 20, "c": 30}
    assert frame.loc[frame["run"] == "c", "fgsm_predicted"].isna().all()
    assert frame.loc[frame["run"] == "a", "runner_up"].isna().all()
    assert robench.read(tmp_path / "c", tmp_path / "a").equals(frame)


def test_a_run_without_records_has_the_same_columns(tmp_path: Path) -> None:
    Synthetic().write_certify(tmp_path / "c", 0, status="interrupted")
    Synthetic().write_certify(tmp_path / "d", 5)
    assert robench.read(tmp_path / "c").empty
    assert robench.read(tmp_path / "c").dtypes.index.equals(robench.read(tmp_path / "d").dtypes.index)
    with pytest.raises(RunError):
        robench.read(tmp_path / "absent")


def test_it_loads_neither_torch_nor_plotting_libraries() -> None:
    code = "import sys, robench; robench.read; sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

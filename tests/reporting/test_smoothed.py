"""Smoothed classifiers in the report: a section of their own, and no other number changes."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from robench.records.smoothed import SmoothedRecord, SmoothedStatus, smoothed_line
from robench.reporting import build_report, figures, tables
from robench.reporting.evaluations import read_evaluations
from robench.runs.run import read_smoothed_runs
from robench.specs.smoothing import Sampling
from tests.reporting.synthetic import Synthetic

pytestmark = pytest.mark.usefixtures("blank_figures")
N = 40


def write_smoothed(folder: Path, model: Synthetic, like: Path) -> Path:
    """A run of the smoothed classifier of a model: certified far beyond what the model is attacked at."""
    folder.mkdir(parents=True)
    manifest = json.loads((like / "manifest.json").read_text())
    manifest |= {"command": "certify-smoothed", "status": "success", "records_sha256": None}
    manifest["spec"] = {"data": manifest["spec"]["data"], "split": "test", "sampling": Sampling(sigma=0.5).to_dict()}
    manifest["facts"] |= {"eps": ["0.5", "9"], "audit": None}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    kinds = {0: SmoothedStatus.ABSTAINED, 1: SmoothedStatus.MISCLASSIFIED}
    records = [
        SmoothedRecord(
            index=item.index,
            input_sha256=item.input_sha256,
            label=item.label,
            predicted=(None, (item.label + 1) % 10, item.label)[min(item.index % 8, 2)],
            chosen=(item.label + (item.index % 8 == 1)) % 10,
            chosen_count=90,
            count=9000,
            offset=0.0,
            radius=10.0 * (item.index % 8 > 0),
            status=kinds.get(item.index % 8, SmoothedStatus.CERTIFIED),
        )
        for item in model.certificates(N)
    ]
    (folder / "records.jsonl").write_text("".join(smoothed_line(record) + "\n" for record in records))
    (folder / "summary.json").write_text(json.dumps({"n": N}))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    model = Synthetic()
    certified = model.write_certify(tmp_path / "runs" / "c", N)
    model.write_attack(tmp_path / "runs" / "a", N)
    write_smoothed(tmp_path / "runs" / "s", model, certified)
    return tmp_path / "runs"


def test_nothing_of_the_model_changes(runs: Path, tmp_path: Path) -> None:
    """Smoothed radii of 10 would contradict every attack on the model."""
    (item,) = read_evaluations([runs])
    assert [run.name for run in item.runs] == ["c", "a"]
    assert not item.contradictions
    without, beside = tmp_path / "without", tmp_path / "beside"
    build_report([runs / "a", runs / "c"], without)
    build_report([runs], beside)
    for name in ("rates", "comparison", "budgets", "comparison-01-bounds", "comparison-01-models"):
        assert (without / "tables" / f"{name}.csv").read_bytes() == (beside / "tables" / f"{name}.csv").read_bytes()
    assert "0 contradictions" in (beside / "report.md").read_text()
    assert "certify-smoothed" in (beside / "tables" / "runs.csv").read_text()


def test_the_table_and_the_curve_say_what_they_are_of(runs: Path, tmp_path: Path) -> None:
    page = build_report([runs], tmp_path / "report").read_text(encoding="utf-8")
    (row,) = pd.read_csv(tmp_path / "report" / "tables" / "smoothed.csv").to_dict("records")
    right = N - N // 8 - len(range(1, N, 8))
    assert (row["σ"], row["draws"], row["probability per image"], row["of all images"]) == (0.5, 10_000, 0.999, 0.96)
    assert row["certified % at ε = 0.5"] == row["certified % at ε = 9"] == row["accuracy %"] == 100 * right / N
    assert row["abstains %"] == 100 * (N // 8) / N
    assert "another function than the model" in page
    (axes,) = figures.smoothed(read_smoothed_runs([runs])).axes
    (line,) = axes.lines
    assert line.get_label() == "smoothed, σ = 0.5, probability 0.999 per image: hkr (s)"
    assert line.get_ydata()[0] == right / N


def test_a_report_of_smoothed_classifiers_alone(runs: Path, tmp_path: Path) -> None:
    page = build_report([runs / "s"], tmp_path / "report").read_text(encoding="utf-8")
    assert "Nothing to cross-check" in page
    assert "1 model on mnist test" in page
    assert "At a glance" not in page
    table = tables.smoothed(read_smoothed_runs([runs]))
    assert table.text["base model"].tolist() == ["hkr"]

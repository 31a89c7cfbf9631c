"""Runs of `certify --method smoothing`: continued, verified, read, and kept apart from those of the model itself."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import robench
from robench.cli.main import run as command
from robench.errors import RunError
from robench.records.smoothed import SmoothedRecord, smoothed_line, smoothed_record
from robench.smoothing import certify as smoothing
from robench.workflows.smoothing import TABLE
from tests.cli.test_json import described
from tests.reporting.synthetic import Synthetic

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # foolbox imports a deprecated name of scipy
    from robench import workflows

NET = """
import torch
def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.GELU(), torch.nn.Linear(32, 10))
"""
IMAGES = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("net")
    (folder / "net.py").write_text(NET)
    return f"{folder}/net.py:make"


def certify(model: str, out: Path, limit: int = IMAGES, **changes: Any) -> workflows.Outcome:
    settings = {"sigma": 0.2, "n": 200, "n0": 20, "eps": [0.05, 0.1], **changes}
    return workflows.certify_smoothed(model, workflows.DataRef("digits", limit=limit), out=out, **settings)


@pytest.fixture(scope="module")
def run(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certify(model, tmp_path_factory.mktemp("runs") / "smoothed").folder


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def test_the_run_says_what_the_function_in_memory_says(model: str, run: Path) -> None:
    found = robench.certify_smoothed(model, "digits", limit=IMAGES, sigma=0.2, n=200, n0=20)
    assert [smoothed_line(record) for record in found.records()] == (run / "records.jsonl").read_text().splitlines()
    assert {record.predicted is None for record in found.records()} == {True, False}


def test_an_interrupted_run_is_continued_at_the_next_image(
    model: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = smoothing._certificate

    def interrupted(voter: Any, image: Any, index: int, *rest: Any) -> Any:
        if index == 5:
            raise KeyboardInterrupt
        return whole(voter, image, index, *rest)

    monkeypatch.setattr(smoothing, "_certificate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        certify(model, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "interrupted"
    with (tmp_path / "run" / "records.jsonl").open("a") as file:
        file.write('{"index":5,"inp')  # torn by a kill
    monkeypatch.setattr(smoothing, "_certificate", whole)
    assert certify(model, tmp_path / "run").summary["reused"] == 5
    assert (tmp_path / "run" / "records.jsonl").read_bytes() == (run / "records.jsonl").read_bytes()


@pytest.mark.parametrize("changes", [{"sigma": 0.3}, {"n": 201}, {"n0": 21}, {"alpha": 0.01}, {"seed": 1}])
def test_a_run_of_other_settings_is_another_run(model: str, run: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(RunError, match=f"sampling.{next(iter(changes))}"):
        certify(model, run, **changes)


def test_a_run_of_the_model_itself_is_not_continued(model: str, run: Path) -> None:
    with pytest.raises(RunError, match="not of `certify`"):
        workflows.certify(model, workflows.DataRef("digits", limit=IMAGES), out=run)


def test_a_dry_run_says_what_is_left_and_what_would_be_refused(model: str, run: Path, tmp_path: Path) -> None:
    def foreseen(out: Path, n: int = 200) -> dict[str, Any]:
        ref = workflows.DataRef("digits", limit=IMAGES + 3)
        return workflows.foresee_smoothed(model, ref, sigma=0.2, n=n, n0=20, out=out)

    before = {path: path.read_bytes() for path in run.iterdir()}
    assert (foreseen(run)["n_done"], foreseen(run)["n_left"], foreseen(run)["differs"]) == (IMAGES, 3, [])
    (refused,) = foreseen(run, n=201)["differs"]
    assert "sampling.n" in refused
    assert {path: path.read_bytes() for path in run.iterdir()} == before
    assert foreseen(tmp_path / "new")["n_left"] == IMAGES + 3
    assert not (tmp_path / "new").exists()


def test_a_gate_holds_it_against_a_rate(run: Path) -> None:
    (line,) = workflows.gate(run, requirements=["certified@0.05=0"])["lines"]
    assert line["count"] == json.loads((run / "summary.json").read_text())["n_certified"]["smoothed"]["0.05"]


def test_the_summary_counts_the_records(run: Path) -> None:
    summary, records = json.loads((run / "summary.json").read_text()), lines(run)
    right = [record for record in records if record["predicted"] == record["label"]]
    assert summary["n_correct"] == len(right)
    assert summary["n_abstained"] == sum(record["predicted"] is None for record in records)
    expected = {text: sum(record["radius"] > float(text) for record in right) for text in ("0.05", "0.1")}
    assert summary["n_certified"] == {"smoothed": expected}
    assert summary["certificate"]["model"] == "smoothed"
    assert summary["confidence"] == {"each": 0.999, "all": 0.988}
    assert sum(item["n_certified"]["smoothed"]["0.05"] for item in summary["by_class"].values()) == expected["0.05"]


def test_the_table_is_that_of_the_field(run: Path) -> None:
    table = pd.read_csv(run / TABLE, delimiter="\t")
    assert list(table.columns) == ["idx", "label", "predict", "radius", "correct", "time"]
    for row, record in zip(table.to_dict("records"), lines(run), strict=True):
        assert row["predict"] == (-1 if record["predicted"] is None else record["predicted"])
        assert (row["idx"], row["label"], row["radius"]) == (record["index"], record["label"], record["radius"])
        assert row["correct"] == (record["status"] == "certified")


@pytest.fixture
def changed(run: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the run in which some fields of its first certified or misclassified record are others."""

    def change(**fields: Any) -> Path:
        folder = tmp_path / "changed"
        folder.mkdir()
        (folder / "manifest.json").write_bytes((run / "manifest.json").read_bytes())
        records = lines(run)
        first = next(record for record in records if record["radius"] > 0)
        first.update({name: make(first[name]) for name, make in fields.items()})
        (folder / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        return folder

    return change


def test_verify_agrees(run: Path) -> None:
    found = workflows.verify(run)
    assert (found["n"], found["certificates"], found["failed"]) == (IMAGES, IMAGES, 0)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"count": lambda count: count + 1}, "the radius of"),
        ({"count": lambda count: count - 1}, "the radius of"),
        ({"count": lambda count: 201}, "201 draws are counted"),
        ({"radius": lambda radius: radius * (1 + 1e-6)}, "the radius of"),
        ({"offset": lambda offset: offset / 2}, "the nearest image on the grid"),
        ({"chosen_count": lambda count: 21}, "21 of 20 draws"),
        ({"chosen_count": lambda count: 1}, "1 of 20 draws"),
        ({"input_sha256": lambda digest: digest[::-1]}, "the input is another one"),
    ],
)
def test_verify_names_what_does_not_hold(changed: Callable[..., Path], fields: Any, problem: str) -> None:
    found = workflows.verify(changed(**fields))
    assert any(problem in text for text in found["problems"])


def test_records_that_contradict_themselves_are_refused(run: Path) -> None:
    for changes in ({"radius": 0.0}, {"status": "abstained"}, {"count": -1}, {"count": 1.5}, {"margin": 1.0}):
        data = next(line for line in lines(run) if line["radius"] > 0)
        assert isinstance(smoothed_record(data), SmoothedRecord)
        with pytest.raises(RunError, match="smoothed classifier"):
            smoothed_record({**data, **changes})


def test_frames_are_kept_apart(run: Path, tmp_path: Path) -> None:
    synthetic = Synthetic().write_certify(tmp_path / "c", 5)
    frame = robench.read_smoothed(run, synthetic)
    assert len(frame) == IMAGES
    assert set(frame["command"]) == {"certify-smoothed"}
    assert frame["radius"].tolist() == [record["radius"] for record in lines(run)]
    assert frame["predicted"].isna().tolist() == [record["predicted"] is None for record in lines(run)]
    assert set(robench.read(run, synthetic)["command"]) == {"certify"}
    with pytest.raises(RunError, match="no certify or attack run"):
        robench.read(run)
    with pytest.raises(RunError, match="no run of a smoothed classifier"):
        robench.read_smoothed(synthetic)


def test_the_command(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["certify", model, "--data", "digits", "--limit", "4", "--out", str(tmp_path / "run"), "--eps", "0.1"]
    smooth = [*call, "--method", "smoothing", "--n", "100"]
    assert command([*smooth, "--json"]) == 0
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert summary["command"] == "certify-smoothed"
    assert set(summary) == described("Every command") | described("certify-smoothed")
    assert "hold together with probability" in printed.err
    assert command([*smooth, "--fail-under", "1"]) == 1
    assert "smoothed classifier, σ = 0.25, 100 draws" in capsys.readouterr().out
    assert command([*call, "--sigma", "1"]) == 2
    assert command([*smooth, "--deploy-dtype", "float32"]) == 2
    assert command([*smooth, "--sigma", "0"]) == 2
    points = ["certify", model, "--data", "two-moons", "--method", "smoothing", "--out", str(tmp_path / "points")]
    assert command(points) == 2
    assert not (tmp_path / "points").exists()
    assert command([*smooth, "--rule", "local"]) == 2


@pytest.mark.slow
def test_kills_change_nothing(model: str, tmp_path: Path) -> None:
    def call(out: Path) -> list[str]:
        return [
            sys.executable, "-m", "robench", "certify", model, "--data", "digits", "--limit", "150", "--method",
            "smoothing", "--n", "5000", "--out", str(out), "--device", "cpu", "-q",
        ]  # fmt: skip

    subprocess.run(call(tmp_path / "whole"), check=True)
    killed = tmp_path / "killed"
    for least in (1, 40, 90):
        process = subprocess.Popen(call(killed))
        while not (killed / "records.jsonl").exists() or len((killed / "records.jsonl").read_bytes()) < 250 * least:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(call(killed), check=True)
    assert (killed / "records.jsonl").read_bytes() == (tmp_path / "whole" / "records.jsonl").read_bytes()

"""The benchmark suites: small ones here, the embedded one marked slow."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from robench.training.recipes import RECIPES
from robench.workflows import benchmarking as bench
from tests.cli.test_json import described

EPS = ("0.1", "0.5")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> bench.Suite:
    entries = tuple(bench.Entry(name, name, {"epochs": 3}) for name in ("hkr", "plain"))
    track = bench.Track(data="digits", entries=entries, eps=EPS, attacked=8, full=False)
    suite = bench.Suite(name="small", tracks=(track,))
    monkeypatch.setattr(bench, "BENCH_SUITES", {"small": suite})
    return suite


@pytest.mark.usefixtures("blank_figures")
def test_a_suite_ends_with_the_table_and_the_report_and_resumes(
    robench: Any, small: bench.Suite, tmp_path: Path
) -> None:
    result = robench("bench", "small", "--out", tmp_path)
    assert result.code == 0, result.stderr
    lines = result.stdout.strip().splitlines()
    page = Path(lines[-1].removeprefix("report: "))
    assert page.is_file()
    assert all(name in result.stdout for name in ("hkr", "plain", "ε = 0.5"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")}
    again = robench("bench", "small", "--out", tmp_path, "--json")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")} == before
    assert set(again.data) == described("Every command") | described("bench")
    rows = again.data["models"]
    assert [row["model"] for row in rows] == ["hkr", "plain"]
    for row in rows:
        assert row["n_attacked"] == 8
        assert row["violations"] == 0
        assert all(row["n_certified"]["pairwise"][text] <= row["n_robust"]["combined"][text] for text in EPS)


@pytest.mark.slow
def test_a_suite_that_was_stopped_goes_on(robench: Any, small: bench.Suite, tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    robench("bench", "small", "--out", whole)
    robench("bench", "small", "--out", stopped)
    shutil.rmtree(stopped / "runs" / "attack-digits-plain")
    assert robench("bench", "small", "--out", stopped).code == 0
    for path in sorted(whole.rglob("records.jsonl")):
        assert (stopped / path.relative_to(whole)).read_bytes() == path.read_bytes()


def test_the_suites_are_what_the_documents_say() -> None:
    embedded, mnist = bench.BENCH_SUITES["embedded"], bench.BENCH_SUITES["mnist"]
    assert [track.data for track in embedded.tracks] == ["two-moons", "digits"]
    assert all({entry.recipe for entry in track.entries} == set(RECIPES) for track in embedded.tracks)
    assert {"adv", "1lip-log", "gnp-hinge", "gnp-log", "hkr"} <= {entry.recipe for entry in mnist.tracks[0].entries}
    assert mnist.tracks[0].attacked == 500


@pytest.mark.slow
def test_the_embedded_suite_runs_whole(robench: Any, tmp_path: Path) -> None:
    result = robench("bench", "--out", tmp_path, "--json")
    assert result.code == 0, result.stderr
    assert len(result.data["models"]) == 2 * len(RECIPES)

"""What `attack` prints of single attacks, against its own summary."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from robench.cli.results import attack_result
from robench.runs.reading import read_effort
from robench.statistics.attacked import attack_summary
from tests.reporting.synthetic import ATTACKS, EPS, Synthetic


def cells(line: str) -> list[str]:
    return [part.strip() for part in re.split("[│┃]", line)[1:-1]]


def summary_of(folder: Path, full: bool) -> dict[str, Any]:
    model = Synthetic(seed=4, looseness=1.2)
    model.write_attack(folder, 60, full=full)
    return attack_summary(model.attacked(60, full=full), EPS, full=full, audited=True, spent=read_effort(folder))


@pytest.mark.parametrize("full", [False, True])
def test_the_second_table_says_what_each_attack_did_and_cost(
    tmp_path: Path, full: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = summary_of(tmp_path / "a", full)
    json.dumps(summary, allow_nan=False)
    attack_result(summary)
    _, _, second = capsys.readouterr().out.partition("broke: within ε = 3;")
    rows = {row[0]: row[1:] for line in second.splitlines() if (row := cells(line)) and row[0] in ATTACKS}
    assert list(rows) == list(ATTACKS)
    for name, (broken, *counts) in rows.items():
        item = summary["budget"][name]
        assert item["broke"] == summary["n_broke"][name]["3"]
        assert broken == (f"{item['broke']} of {item['given']}" if item["given"] else "–")
        assert counts[:4] == [str(item[key]) for key in ("alone", "nearest", "forward", "backward")]
        assert max(summary["n_alone"][name].values()) <= item["alone"] <= sum(summary["n_alone"][name].values())
        if full:
            assert 0 <= item["optimality"] - float(counts[4]) < 0.001 + 1e-12
        else:
            assert len(counts) == 4


def test_an_ensemble_says_how_many_pairs_it_spared_and_a_full_run_that_there_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ensemble, whole = summary_of(tmp_path / "a", False), summary_of(tmp_path / "b", True)
    assert whole["spared"] is None
    assert ensemble["spared"]["n_pairs"] == sum(ensemble["spared"]["n_spared"].values()) > 0
    assert ensemble["spared"]["share"] == 0.4
    attack_result(ensemble)
    assert f"were spared an attack: {ensemble['spared']['n_pairs']}" in capsys.readouterr().out
    attack_result(whole)
    assert "spared" not in capsys.readouterr().out

"""What each attack was good for and what it cost, against pandas and numpy on the raw lines of the run folder."""

import io
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robench.errors import RunError
from robench.reporting import formats, tables
from robench.reporting.evaluation import Evaluation
from robench.reporting.evaluations import read_evaluations
from robench.specs.epsilon import epsilon_value
from robench.statistics import budget
from robench.statistics.sparing import spared_counts
from tests.reporting.synthetic import ATTACKS, EPS, Synthetic

TOP = max(map(epsilon_value, EPS))


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def outcomes(folder: Path) -> pd.DataFrame:
    """One row an image and attack; the distance is infinite where nothing was found."""
    rows = [
        {"image": line["index"], "attack": name, "status": item["status"], "distance": item["distance"],
         "correct": line["label"] == line["predicted"], "nearest": line["attack"] == name}
        for line in read_lines(folder / "records.jsonl")
        for name, item in line["attacks"].items()
    ]  # fmt: skip
    return pd.DataFrame(rows).astype({"distance": float}).fillna({"distance": np.inf})


def staircase_area(distances: np.ndarray) -> float:
    """The area under accuracy against ε up to the largest ε, by the trapezoidal rule on both sides of each step."""
    steps = np.unique(np.clip(distances, 0, TOP))
    ends = np.concatenate([[0.0], steps, [TOP]])
    middles = (ends[:-1] + ends[1:]) / 2
    return float(np.sum(np.diff(ends) * np.mean(distances[None, :] > middles[:, None], axis=1)))


@pytest.fixture(params=[(0, True), (1, True), (2, False), (3, False)], ids=str)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Evaluation]:
    seed, full = request.param
    folder = Synthetic(seed=seed, accuracy=0.85).write_attack(tmp_path / "a", 70, full=full)
    return folder, read_evaluations([tmp_path])[0]


def test_counts_are_those_of_the_records(case: tuple[Path, Evaluation]) -> None:
    folder, evaluation = case
    frame = outcomes(folder)
    at = {text: frame[frame["distance"] <= epsilon_value(text)] for text in EPS}
    single = {text: hits[hits.groupby("image")["attack"].transform("size") == 1] for text, hits in at.items()}
    table = tables.budget(evaluation).text.set_index("attack")
    assert list(table.index) == [*ATTACKS, "combined"]
    for name, item in evaluation.budgets.items():
        mine = frame[frame["attack"] == name]
        assert item.given == (mine["status"] != "not_run").sum()
        assert item.broke == (mine["distance"] <= TOP).sum()
        assert item.nearest == mine["nearest"].sum()
        alone = {text: int((rows["attack"] == name).sum()) for text, rows in single.items()}
        assert budget.n_alone(evaluation.attack.records, EPS)[name] == alone
        assert item.alone == len({i for rows in single.values() for i in rows.loc[rows["attack"] == name, "image"]})
        assert table.loc[name, "broke"] == (f"broke {item.broke} of {item.given}" if item.given else "–")
        assert table.loc[name, "broke alone"] == str(item.alone)
        assert [table.loc[name, f"broke alone at ε = {text}"] for text in EPS] == [str(k) for k in alone.values()]
    broken = frame[frame["distance"] <= TOP]["image"].nunique()
    given = frame[frame["status"] != "not_run"]["image"].nunique()
    assert table.loc["combined", "broke"] == f"broke {broken} of {given}"


def test_passes_are_summed_over_the_parts_of_the_run(case: tuple[Path, Evaluation]) -> None:
    folder, evaluation = case
    spent = pd.DataFrame(read_lines(folder / "effort.jsonl")).sum()
    table = tables.budget(evaluation).text.set_index("attack")
    for way in ("forward", "backward"):
        for name in ATTACKS:
            assert table.loc[name, f"{way} passes"] == str(int(spent[f"{name} {way}"]))
        assert table.loc["combined", f"{way} passes"] == str(int(spent[way]))


def test_optimality_is_that_of_attackbench(case: tuple[Path, Evaluation]) -> None:
    folder, evaluation = case
    table = tables.budget(evaluation).text
    if not evaluation.full:
        assert "optimality" not in table
        assert all(item.optimality is None for item in evaluation.budgets.values())
        return
    frame = outcomes(folder)
    matrix = frame.pivot(index="image", columns="attack", values="distance").to_numpy()
    names = sorted(ATTACKS)
    correct = frame.groupby("image")["correct"].first().to_numpy()
    matrix = np.where(correct[:, None], matrix, 0.0)
    best, untouched = staircase_area(matrix.min(axis=1)), float(correct.mean()) * TOP
    for name, column in zip(names, matrix.T, strict=True):
        expected = 1 - (staircase_area(column) - best) / (untouched - best)
        found = evaluation.budgets[name].optimality
        assert float(found) == pytest.approx(expected, abs=1e-12)
        assert 0 <= found <= 1
        shown = Fraction(table.set_index("attack").loc[name, "optimality"])
        assert 0 <= found - shown < Fraction(1, 1000)


def test_an_attack_that_is_always_nearest_has_optimality_one_and_one_that_finds_nothing_zero(tmp_path: Path) -> None:
    folder = Synthetic().write_attack(tmp_path / "a", 50, full=True)
    lines = read_lines(folder / "records.jsonl")
    for line in lines:
        line["attacks"]["cw"] |= {"status": "not_found", "distance": None, "predicted": None}
        if line["distance"]:
            found = [item["distance"] for item in line["attacks"].values() if item["distance"]]
            best = min(found, default=None)
            line["attacks"]["pgd"] |= {"distance": best, "status": "found" if best else "not_found"}
            line["distance"] = best
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    budgets = read_evaluations([tmp_path])[0].budgets
    assert (budgets["pgd"].optimality, budgets["cw"].optimality) == (1, 0)


def test_nothing_is_optimal_where_nothing_was_broken(tmp_path: Path) -> None:
    folder = Synthetic(accuracy=1.0).write_attack(tmp_path / "a", 20, full=True)
    lines = read_lines(folder / "records.jsonl")
    for line in lines:
        line |= {"distance": None, "attack": None}
        line["attacks"] = {name: {"status": "not_found", "distance": None, "predicted": None} for name in ATTACKS}
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = tables.budget(read_evaluations([tmp_path])[0]).text
    assert set(table["optimality"]) == {"–"}
    assert set(table["broke alone"]) == {"0", "–"}


@pytest.mark.parametrize(
    "effort", ["", '{"forward": 5, "backward": 4}\n', '{"cw forward": NaN}\n{"pgd forward": "1"}\n']
)
def test_passes_that_were_not_noted_are_no_zero(tmp_path: Path, effort: str) -> None:
    folder = Synthetic().write_attack(tmp_path / "a", 20)
    (folder / "effort.jsonl").write_text(effort)
    table = tables.budget(read_evaluations([tmp_path])[0]).text.set_index("attack")
    assert set(table.loc[list(ATTACKS), "forward passes"]) == {"–"}
    assert table.loc["combined", "forward passes"] == ("5" if "5" in effort else "–")


@pytest.mark.parametrize("seed", range(4))
def test_spared_pairs_are_counted_as_a_loop_over_the_records_does(tmp_path: Path, seed: int) -> None:
    folder = Synthetic(seed=seed, looseness=1.2).write_attack(tmp_path / "a", 80)
    expected = dict.fromkeys(EPS, 0)
    for line in read_lines(folder / "records.jsonl"):
        for text in EPS:
            epsilon, radius = epsilon_value(text), line["certified_radius"]
            last = np.inf if line["distance"] is None else line["distance"]
            if line["label"] != line["predicted"] or radius > epsilon or last <= epsilon:
                continue
            so_far, spared = np.inf, False
            for item in line["attacks"].values():
                spared |= bool(np.isfinite(so_far)) and radius > 0 and so_far - epsilon > 0.4 * (so_far - radius)
                so_far = min(so_far, np.inf if item["distance"] is None else item["distance"])
            expected[text] += spared
    evaluation = read_evaluations([tmp_path])[0]
    assert spared_counts(evaluation.attack.records, EPS) == expected
    assert evaluation.n_spared == sum(expected.values()) > 0


def test_numbers_for_further_computation_are_the_exact_ones(case: tuple[Path, Evaluation]) -> None:
    _, evaluation = case
    text = formats.to_csv(tables.budgets([evaluation]))
    read = pd.read_csv(io.StringIO(text)).set_index("attack")
    for name, item in evaluation.budgets.items():
        for key, value in item.to_dict().items():
            assert pd.isna(read.loc[name, key]) if value is None else read.loc[name, key] == value


def test_without_an_attack_run_there_are_no_budgets(tmp_path: Path) -> None:
    Synthetic().write_certify(tmp_path / "c", 20)
    evaluations = read_evaluations([tmp_path])
    assert tables.budgets(evaluations).empty
    assert not tables.budget(evaluations[0]).cells
    assert evaluations[0].n_spared is None


def test_accuracy_falls_along_the_course_of_a_run(case: tuple[Path, Evaluation]) -> None:
    folder, evaluation = case
    frame = outcomes(folder)
    stages = budget.course(evaluation.attack.records)
    correct = frame.groupby("image")["correct"].first()
    for place in range(len(ATTACKS) + 1):
        hit = frame[frame["attack"].isin(ATTACKS[:place])].groupby("image")["distance"].min().reindex(correct.index)
        for text in EPS:
            stands = correct & ~(hit <= epsilon_value(text))
            assert stages[place].counts(epsilon_value(text)) == stands.sum()
    assert (stages[-1].thresholds == evaluation.robust().thresholds).all()


def test_records_of_other_attacks_are_refused(tmp_path: Path) -> None:
    folder = Synthetic().write_attack(tmp_path / "a", 20, full=True)
    lines = read_lines(folder / "records.jsonl")
    lines[3]["attacks"].pop("cw")
    found = [outcome["distance"] for outcome in lines[3]["attacks"].values() if outcome["distance"] is not None]
    lines[3]["distance"] = min(found, default=None) if lines[3]["predicted"] == lines[3]["label"] else 0.0
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RunError, match=r"line 4 of .* is of the attacks fgsm, pgd, deepfool, line 1 of"):
        read_evaluations([tmp_path])

"""Which runs are joined, what they are called, and what is refused."""

import json
from pathlib import Path

import pytest

from robench.errors import RunError
from robench.reporting.evaluations import read_evaluations
from robench.specs.epsilon import ascending
from tests.reporting.synthetic import Synthetic


def test_runs_of_the_same_weights_and_data_are_joined(tmp_path: Path) -> None:
    for place, name in enumerate(("b", "a")):
        Synthetic(name=name, seed=place).write_certify(tmp_path / name / "certify", 30)
        Synthetic(name=name, seed=place).write_attack(tmp_path / name / "attack", 20)
    found = read_evaluations([tmp_path])
    assert [item.name for item in found] == ["a", "b"]
    assert [[run.name for run in item.runs] for item in found] == [
        ["a/certify", "a/attack"],
        ["b/certify", "b/attack"],
    ]
    assert found[0].certified("pairwise").n == 30
    assert found[0].certified_on_attacked("pairwise").n == 20


def test_other_data_is_another_evaluation(tmp_path: Path) -> None:
    Synthetic().write_certify(tmp_path / "one", 20)
    Synthetic(data="digits").write_certify(tmp_path / "two", 20)
    assert [item.name for item in read_evaluations([tmp_path])] == ["hkr (digits test)", "hkr (mnist test)"]


def test_models_of_one_name_are_told_apart_by_their_weights(tmp_path: Path) -> None:
    Synthetic(seed=0).write_certify(tmp_path / "one", 20)
    Synthetic(seed=1).write_certify(tmp_path / "two", 20)
    names = [item.name for item in read_evaluations([tmp_path])]
    assert sorted(names) == sorted(f"hkr ({Synthetic(seed=seed).weights[:8]})" for seed in (0, 1))


def test_two_attack_runs_share_the_certify_run(tmp_path: Path) -> None:
    Synthetic().write_certify(tmp_path / "c", 20)
    Synthetic().write_attack(tmp_path / "a1", 20)
    Synthetic().write_attack(tmp_path / "a2", 20, full=True)
    found = read_evaluations([tmp_path])
    assert [item.name for item in found] == ["hkr"]
    assert {item.certify.name for item in found[0].whole} == {"c"}
    assert len(found[0].others) == 1


def test_the_runs_of_one_model_are_one_evaluation_and_the_largest_of_them_count(tmp_path: Path) -> None:
    for name, n in (("small", 20), ("large", 60), ("middle", 30)):
        Synthetic().write_certify(tmp_path / f"c-{name}", n)
        Synthetic().write_attack(tmp_path / f"a-{name}", n, full=name == "small")
    (item,) = read_evaluations([tmp_path])
    assert (item.certify.name, item.attack.name) == ("c-large", "a-large")
    assert {run.name for other in item.whole for run in other.runs} == {path.name for path in tmp_path.iterdir()}


def test_of_two_attack_runs_of_one_size_the_one_counts_that_broke_more(tmp_path: Path) -> None:
    Synthetic().write_attack(tmp_path / "a-weak", 40, eps=("0.5",))
    Synthetic().write_attack(tmp_path / "b-strong", 40)
    (item,) = read_evaluations([tmp_path])
    assert item.attack.name == "b-strong"


def test_every_attack_run_is_held_against_every_certify_run(tmp_path: Path) -> None:
    """A contradiction between two runs of which neither is the largest is found, and once."""
    model = Synthetic()
    model.write_certify(tmp_path / "c-large", 60)
    model.write_attack(tmp_path / "a-large", 60)
    folder = model.write_certify(tmp_path / "c-small", 40)
    model.write_attack(tmp_path / "a-small", 40)
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    broken = {record.index for record in model.attacked(40) if record.correct and record.distance is not None}
    victim = next(line for line in lines if line["index"] in broken)
    victim["radius_pairwise"] = 99.0
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (item,) = read_evaluations([tmp_path])
    assert [(found.index, found.radius) for found in item.contradictions] == [(victim["index"], 99.0)]


def test_an_attack_run_stands_beside_the_largest_certify_run(tmp_path: Path) -> None:
    Synthetic().write_certify(tmp_path / "large", 40)
    Synthetic().write_certify(tmp_path / "small", 20)
    Synthetic().write_attack(tmp_path / "a", 20)
    found = read_evaluations([tmp_path])
    assert [[run.name for run in item.runs] for item in found[0].whole] == [["large", "a"], ["small"]]


def test_runs_of_other_functions_with_the_same_weights_are_not_joined(tmp_path: Path) -> None:
    """ReLU certified and Tanh attacked, of one weights file: two models, each without the other half."""
    for name, function, write in (("c", "aa" * 32, "write_certify"), ("a", "bb" * 32, "write_attack")):
        data = Synthetic().manifest("certify", 20)["identity"]
        getattr(Synthetic(), write)(tmp_path / name, 20, identity={**data, "function_sha256": function})
    found = read_evaluations([tmp_path])
    assert sorted(item.name for item in found) == ["hkr (function aaaaaaaa)", "hkr (function bbbbbbbb)"]
    assert [len(item.runs) for item in found] == [1, 1]


def test_the_order_of_the_paths_does_not_matter(tmp_path: Path) -> None:
    folders = [Synthetic(name=name, seed=len(name)).write_certify(tmp_path / name, 5) for name in ("x", "yy", "zzz")]
    names = [item.name for item in read_evaluations(folders)]
    assert names == [item.name for item in read_evaluations([*folders[::-1], tmp_path])]


def test_attack_records_certify_where_there_is_no_certify_run(tmp_path: Path) -> None:
    Synthetic().write_attack(tmp_path / "a", 20)
    item = read_evaluations([tmp_path])[0]
    assert item.certified("pairwise").n == 20
    assert item.certified("paper") is None


def test_a_refused_audit_means_no_certificate(tmp_path: Path) -> None:
    Synthetic(audit=False).write_attack(tmp_path / "a", 20)
    item = read_evaluations([tmp_path])[0]
    assert item.certified("pairwise") is None
    assert "roll" in item.refusal


def test_trainings_are_passed_over(tmp_path: Path) -> None:
    folder = Synthetic().write_certify(tmp_path / "c", 20)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "manifest.json").write_text(json.dumps({"command": "train"}))
    assert [item.certify.folder for item in read_evaluations([tmp_path])] == [folder]
    with pytest.raises(RunError, match="no certify or attack run"):
        read_evaluations([tmp_path / "model"])


def test_no_run_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(RunError):
            read_evaluations([path])
    with pytest.raises(RunError):
        read_evaluations([])


@pytest.mark.parametrize("version", [1, 2])
def test_older_runs_are_read(tmp_path: Path, version: int) -> None:
    Synthetic().write_certify(tmp_path / "c", 5, schema_version=version)
    assert read_evaluations([tmp_path])[0].largest.n == 5


@pytest.mark.parametrize("version", [0, 3, None, "1"])
def test_another_schema_version_is_refused(tmp_path: Path, version: object) -> None:
    Synthetic().write_certify(tmp_path / "c", 5, schema_version=version)
    with pytest.raises(RunError, match="schema version"):
        read_evaluations([tmp_path])


def test_a_broken_record_is_refused(tmp_path: Path) -> None:
    folder = Synthetic().write_certify(tmp_path / "c", 5)
    (folder / "records.jsonl").write_text('{"index": 0}\n')
    with pytest.raises(RunError):
        read_evaluations([tmp_path])


@pytest.mark.parametrize("kept", [0, 5])
def test_a_finished_run_that_lost_records_is_refused(tmp_path: Path, kept: int) -> None:
    path = Synthetic().write_certify(tmp_path / "c", 6) / "records.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:kept]))
    with pytest.raises(RunError, match=f"6 images and holds {kept} records"):
        read_evaluations([tmp_path])


def test_radii_ascend_and_keep_their_first_spelling() -> None:
    assert ascending(["2", "1/2", "0.5", "36/255"]) == ("36/255", "1/2", "2")


@pytest.mark.parametrize("n", [5, 10, 20])
def test_an_attack_is_never_set_against_radii_of_another_arithmetic(tmp_path: Path, n: int) -> None:
    made = Synthetic()
    made.write_attack(tmp_path / "a", 10)
    made.write_certify(tmp_path / "c", n)
    folder = made.write_certify(tmp_path / "f", 30)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["spec"]["deploy_dtype"] = "float32"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (found,) = read_evaluations([tmp_path])
    assert [tuple(run.name for run in item.runs) for item in found.whole] == [("c", "a"), ("f",)]
    assert [item.runs[0].arithmetic for item in found.whole] == ["float64", "float32"]
    assert not found.contradictions

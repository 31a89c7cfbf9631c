"""From nothing to a report, through the command line, on embedded data."""

from pathlib import Path
from typing import Any

import pytest

EPS = "0.1,0.25,0.5,1"
TEXTS = EPS.split(",")


def certify(robench: Any, model: Path, data: str, out: Path, *more: object) -> Any:
    return robench("certify", model, "--data", data, "--eps", EPS, "--out", out, "--json", *more)


def attack(robench: Any, model: Path, data: str, out: Path, *more: object) -> Any:
    return robench("attack", model, "--data", data, "--eps", EPS, "--out", out, "--json", *more)


@pytest.mark.parametrize("data", ["digits", "two-moons"])
def test_certified_lies_below_attacked_and_pairwise_above_paper(
    robench: Any, digits_model: Path, moons_model: Path, data: str, tmp_path: Path
) -> None:
    model = digits_model if data == "digits" else moons_model
    certified = certify(robench, model, data, tmp_path / "c").data
    assert list(certified["certified_accuracy"]) == ["paper", "pairwise"]
    for text in TEXTS:
        paper, pairwise = (certified["certified_accuracy"][rule][text] for rule in ("paper", "pairwise"))
        assert 0 <= paper <= pairwise <= certified["clean_accuracy"]
    assert certified["mean_radius"]["paper"] <= certified["mean_radius"]["pairwise"]
    assert certified["lipschitz_lower"] <= certified["lipschitz_upper"]

    result = attack(robench, model, data, tmp_path / "a", "--limit", 30)
    assert result.code == 0, result.stderr
    attacked = result.data
    assert attacked["n"] == 30
    assert attacked["violations"] == 0
    assert set(attacked["robust_accuracy"]) == {"combined"}
    assert set(attacked["n_broke"]) == {"fgsm", "pgd", "cw", "deepfool"}
    for text in TEXTS:
        combined = attacked["robust_accuracy"]["combined"][text]
        assert attacked["certified_accuracy"]["pairwise"][text] <= combined
        assert combined <= attacked["clean_accuracy"]


def test_the_same_commands_give_the_same_bytes(robench: Any, digits_model: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    robench("train", "--recipe", "hkr", "--data", "digits", "--epochs", 3, "--seed", 0, "--out", again)
    assert (again / "model.safetensors").read_bytes() == (digits_model / "model.safetensors").read_bytes()
    for command in (certify, attack):
        for name in ("1", "2"):
            command(robench, digits_model, "digits", tmp_path / name / command.__name__, "--limit", 40)
        first, second = (tmp_path / name / command.__name__ / "records.jsonl" for name in ("1", "2"))
        assert first.read_bytes() == second.read_bytes()


def test_another_seed_gives_other_weights(robench: Any, digits_model: Path, tmp_path: Path) -> None:
    robench("train", "--recipe", "hkr", "--data", "digits", "--epochs", 3, "--seed", 1, "--out", tmp_path / "m")
    assert (tmp_path / "m" / "model.safetensors").read_bytes() != (digits_model / "model.safetensors").read_bytes()


def test_a_raised_limit_computes_only_the_new_images(robench: Any, digits_model: Path, tmp_path: Path) -> None:
    for command in (certify, attack):
        out = tmp_path / command.__name__
        command(robench, digits_model, "digits", out, "--limit", 20)
        before = (out / "records.jsonl").read_bytes()
        assert command(robench, digits_model, "digits", out, "--limit", 30).data["n"] == 30
        whole = tmp_path / f"{command.__name__}-whole"
        command(robench, digits_model, "digits", whole, "--limit", 30)
        assert (out / "records.jsonl").read_bytes() == (whole / "records.jsonl").read_bytes()
        assert (out / "records.jsonl").read_bytes().startswith(before)
        fewer = command(robench, digits_model, "digits", out, "--limit", 10)
        assert fewer.code == 2
        assert "raise the limit" in fewer.stderr


def test_without_out_a_run_lands_under_runs_and_is_found_again(
    robench: Any, digits_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = robench("certify", digits_model, "--data", "digits", "--limit", 20, "--json")
    second = robench("certify", digits_model, "--data", "digits", "--limit", 20, "--json")
    assert (first.data["reused"], second.data["reused"]) == (0, 20)
    assert {**first.data, "reused": 20} == second.data
    assert "reused 20 of 20 records from `runs/certify-hkr-digits" in second.stderr
    assert "reused" not in first.stderr
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_fail_under_turns_a_low_rate_into_exit_1(robench: Any, digits_model: Path, tmp_path: Path) -> None:
    assert certify(robench, digits_model, "digits", tmp_path / "c", "--limit", 20, "--fail-under", 0).code == 0
    result = certify(robench, digits_model, "digits", tmp_path / "c", "--limit", 20, "--fail-under", 1)
    assert result.code == 1
    assert "below --fail-under" in result.stderr


def test_audit_names_every_layer(robench: Any, digits_model: Path) -> None:
    summary = robench("audit", digits_model, "--json").data
    assert summary["lipschitz_lower"] <= summary["lipschitz_upper"]
    assert len(summary["layers"]) >= 3
    assert robench("audit", digits_model).stdout.count("\n") >= len(summary["layers"])


def test_show_spec_prints_a_spec_and_set_changes_it(robench: Any) -> None:
    base = ("train", "--recipe", "hkr", "--data", "digits", "--show-spec")
    assert robench(*base).data["loss"]["alpha"] == 50.0
    assert robench(*base, "--set", "loss.alpha=10").data["loss"]["alpha"] == 10.0

"""The benchmark suites: small ones here, the embedded one marked slow."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from robench.errors import SpecError
from robench.specs.base import digest
from robench.specs.data import DataSpec
from robench.specs.suite import Suite, SuiteAttack, SuiteModel, Track, read_suite, suite_names
from robench.training.recipes import RECIPES, build_spec
from tests.cli.test_json import described

EPS = ("0.1", "0.5")


def own_suite(path: Path, data: str, attack: SuiteAttack) -> Path:
    """A suite of one's own, in a file."""
    models = tuple(SuiteModel(label=name, recipe=name, epochs=3) for name in ("hkr", "plain"))
    track = Track(data=data, models=models, eps=EPS, attacks=(attack,))
    path.write_text(json.dumps(Suite(about="", tracks=(track,)).to_dict()))
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return own_suite(tmp_path / "small.json", "digits", SuiteAttack(images=8))


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    return own_suite(tmp_path / "quick.json", "two-moons", SuiteAttack(images=8, attacks={"fgsm": {}}))


@pytest.mark.usefixtures("blank_figures")
def test_a_suite_ends_with_the_table_and_the_report_and_resumes(robench: Any, small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = robench("bench", small, "--out", out)
    assert result.code == 0, result.stderr
    lines = result.stdout.strip().splitlines()
    page = Path(lines[-1].removeprefix("report: "))
    assert page.is_file()
    assert all(name in result.stdout for name in ("hkr", "plain", "ε = 0.5"))
    before = {path: path.read_bytes() for path in out.rglob("*.jsonl")}
    again = robench("bench", small, "--out", out, "--json")
    assert {path: path.read_bytes() for path in out.rglob("*.jsonl")} == before
    assert set(again.data) == described("Every command") | described("bench")
    rows = again.data["models"]
    assert [row["model"] for row in rows] == ["hkr", "plain"]
    for row in rows:
        assert row["n_attacked"] == 8
        assert row["violations"] == 0
        assert all(row["n_certified"]["pairwise"][text] <= row["n_robust"]["combined"][text] for text in EPS)


@pytest.mark.slow
def test_a_suite_that_was_stopped_goes_on(robench: Any, small: Path, tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    robench("bench", small, "--out", whole)
    robench("bench", small, "--out", stopped)
    shutil.rmtree(stopped / "runs" / "attack-digits-plain")
    assert robench("bench", small, "--out", stopped).code == 0
    for path in sorted(whole.rglob("records.jsonl")):
        assert (stopped / path.relative_to(whole)).read_bytes() == path.read_bytes()


@pytest.mark.usefixtures("blank_figures")
def test_parts_of_a_suite_add_up_to_it(robench: Any, quick: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    trained = robench("bench", quick, "--only", "hkr", "--seeds", "0,1", "--until", "train", "--out", out, "--json")
    assert [(row["model"], row["seed"]) for row in trained.data["trainings"]] == [("hkr", 0), ("hkr", 1)]
    weights = {path: path.read_bytes() for path in out.rglob("model.safetensors")}
    assert (trained.data["models"], trained.data["report"]) == ([], None)
    assert not (out / "runs").exists()
    whole = robench("bench", quick, "--seeds", "0,1", "--limit-attacks", 4, "--out", out)
    assert whole.code == 0, whole.stderr
    assert "mean over the seeds" in whole.stdout
    assert "hkr, seed 1" in whole.stdout
    assert len(list((out / "runs").glob("attack-*/summary.json"))) == 4
    assert (out / "claims.md").is_file()
    assert {path: path.read_bytes() for path in weights} == weights
    facts = json.loads((out / "runs" / "certify-two-moons-hkr-seed-1" / "manifest.json").read_text())["facts"][
        "training"
    ]
    other = json.loads((out / "runs" / "certify-two-moons-hkr" / "manifest.json").read_text())["facts"]["training"]
    assert (facts["seed"], facts["epochs"], facts["arch"]) == (1, 3, "dense-small")
    assert len(facts["curves"]["clean_accuracy"]) == 3
    assert facts["settings"] == other["settings"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nowhere",), "there is no suite `nowhere`"),
        (("embedded", "--full-size"), "there is no suite `embedded-full-size`"),
        (("mnist", "--only", "hkr-dens"), "did you mean `hkr-dense`"),
        (("faces",), "--data npz:PATH"),
        (("embedded", "--data", "mnist"), "two-moons, digits"),
        (("mnist", "--seeds", "0,x"), "no list of seeds"),
    ],
)
def test_what_a_bench_cannot_do_is_said(robench: Any, tmp_path: Path, arguments: tuple[str, ...], text: str) -> None:
    result = robench("bench", *arguments, "--out", tmp_path / "out")
    assert (result.code, result.stdout) == (2, "")
    assert text in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_broken_suite_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    for text in ("{", "[]", '{"about": ""}', '{"about": "", "tracks": [{"data": "digits", "eps": ["x"]}]}'):
        path.write_text(text)
        with pytest.raises(SpecError):
            read_suite(str(path))


SHAPES = {"two-moons": (2,), "digits": (1, 8, 8), "mnist": (1, 28, 28), "cifar10": (3, 32, 32), "celeba": (3, 128, 128)}


@pytest.mark.parametrize("name", suite_names())
def test_every_model_of_every_suite_is_a_training(name: str) -> None:
    suite = read_suite(name)
    assert Suite.from_dict(json.loads(json.dumps(suite.to_dict()))) == suite
    for track in suite.tracks:
        shape = SHAPES.get((track.data or "").split(":")[0], (1, 64, 64))
        classes = 2 if track.data in (None, "two-moons", "celeba", "mnist:0-8") else 10
        specs = [
            build_spec(
                model.recipe,
                data=DataSpec(name=track.data or "npz:faces.npz"),
                input_shape=shape,
                classes=classes,
                arch=model.arch,
                epochs=model.epochs,
                changes=model.changes,
            )
            for model in track.models
        ]
        assert len({digest(spec.to_dict()) for spec in specs}) == len(specs)


def test_the_suites_have_what_the_paper_has() -> None:
    recipes = {"adv", "1lip-log", "gnp-hinge", "gnp-log", "hkr"}
    embedded, mnist = read_suite("embedded"), read_suite("mnist")
    assert all({model.recipe for model in track.models} == set(RECIPES) for track in embedded.tracks)
    (track,) = mnist.tracks
    for arch in ("dense", "conv"):
        assert recipes <= {model.recipe for model in track.models if model.arch == arch}
        margins = {(model.recipe, model.changes.get("loss.margin", 1)) for model in track.models if model.arch == arch}
        assert {("hkr", 1), ("hkr", 2.12), ("gnp-hinge", 1), ("gnp-hinge", 2.12)} <= margins
    assert [(attack.images, sorted(attack.attacks)) for attack in track.attacks] == [(500, []), (2000, ["deepfool"])]
    for name in ("cifar10", "cifar10-full-size", "faces", "faces-full-size"):
        assert recipes <= {model.recipe for model in read_suite(name).tracks[0].models}


@pytest.mark.slow
def test_the_embedded_suite_runs_whole(robench: Any, tmp_path: Path) -> None:
    result = robench("bench", "--out", tmp_path, "--json")
    assert result.code == 0, result.stderr
    assert len(result.data["models"]) == 2 * len(RECIPES)

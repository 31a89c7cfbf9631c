"""`robench show`: what it says of one image is what the model and the run say of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import robench as library


@pytest.fixture(scope="module")
def attacked(robench: Any, digits_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "a"
    result = robench("attack", digits_model, "--data", "digits", "--eps", "0.3,2", "--limit", 40, "--out", out)
    assert result.code == 0, result.stderr
    return out


def record_of(run: Path) -> dict[str, Any]:
    """A correct image that was broken."""
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    return next(record for record in records if record["distance"])


def test_it_says_what_the_model_and_the_run_say(
    robench: Any, attacked: Path, digits_model: Path, tmp_path: Path
) -> None:
    record = record_of(attacked)
    result = robench("show", attacked, "--index", record["index"], "--out", tmp_path / "out", "--json")
    assert result.code == 0, result.stderr
    told = result.data
    assert told == json.loads((tmp_path / "out" / "show.json").read_text())
    assert [told[name] for name in ("label", "predicted", "certified_radius", "distance")] == [
        record[name] for name in ("label", "predicted", "certified_radius", "distance")
    ]
    module = library.load_model(digits_model).module
    x, y = library.load_data("digits", limit=40).arrays()
    image = torch.from_numpy(x[record["index"]][None])
    expected = module(image).detach().numpy()[0]
    assert y[record["index"]] == record["label"]
    found = {item["class"]: item["logit"] for item in told["logits"]}
    np.testing.assert_allclose([found[place] for place in range(10)], expected, rtol=1e-4, atol=1e-5)
    assert [item["logit"] for item in told["logits"]] == sorted(found.values(), reverse=True)
    pictures = [item for item in told["pictures"]["attacks"].values() if item]
    assert pictures
    assert all(item["class"] != record["label"] and item["distance"] >= record["certified_radius"] for item in pictures)
    assert told["contradictions"] == []
    with Image.open(tmp_path / "out" / "image.png") as picture:
        assert picture.width > 500


def test_without_the_model_it_says_what_the_run_says(robench: Any, attacked: Path, tmp_path: Path) -> None:
    record, moved = record_of(attacked), tmp_path / "moved"
    moved.mkdir()
    for path in attacked.iterdir():
        (moved / path.name).symlink_to(path)
    (moved / "manifest.json").unlink()
    manifest = json.loads((attacked / "manifest.json").read_text())
    manifest["facts"]["model"]["path"] = str(tmp_path / "gone")
    (moved / "manifest.json").write_text(json.dumps(manifest))
    result = robench("show", moved, "--index", record["index"], "--out", tmp_path / "out")
    assert result.code == 0, result.stderr
    assert "the model is not at hand" in result.stdout
    assert "no L2 change smaller than" in result.stdout
    assert f"{record['attack']} flips it" in result.stdout
    assert (tmp_path / "out" / "image.svg").exists()


def test_an_attack_within_the_certified_radius_is_a_finding(robench: Any, attacked: Path, tmp_path: Path) -> None:
    record, forged = record_of(attacked), tmp_path / "forged"
    forged.mkdir()
    records = (attacked / "records.jsonl").read_text().splitlines()
    lines = [{**json.loads(line), "certified_radius": 99.0} for line in records]
    (forged / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    manifest = json.loads((attacked / "manifest.json").read_text())
    del manifest["records_sha256"]
    (forged / "manifest.json").write_text(json.dumps(manifest))
    (forged / "summary.json").write_text((attacked / "summary.json").read_text())
    result = robench("show", forged, "--index", record["index"])
    assert result.code == 1
    assert "CONTRADICTION" in result.stdout + result.stderr


def test_what_is_not_there_is_refused(robench: Any, attacked: Path, moons_model: Path, tmp_path: Path) -> None:
    for arguments, said in (
        (("show", attacked, "--index", 99), "from 0 to 39"),
        (("show", attacked.parent / "none", "--index", 0), "does not exist"),
        (("show", attacked, "--index", 0, "--model", moons_model), "not that of the run"),
    ):
        result = robench(*arguments)
        assert result.code == 2
        assert said in result.stderr
        assert "hint:" in result.stderr

"""`robench.attack` in memory gives what the command line writes about the same model and images, bit by bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import robench as package
from robench.data.memory import images
from robench.records.record import to_line
from robench.runs.adversarials import read_adversarials

ASKED = {"eps": ["0.05", "0.1", "0.5"], "attacks": ["pgd:steps=5", "deepfool"]}


@pytest.mark.parametrize("given", ["tensors", "names"])
def test_records_and_points_are_those_of_the_run_folder(
    robench: Any, moons_model: Path, tmp_path: Path, given: str
) -> None:
    options = ("--limit", 25, "--eps", "0.05,0.1,0.5", "--attack", "pgd:steps=5", "--attack", "deepfool")
    result = robench("attack", moons_model, "--data", "two-moons", *options, "--out", tmp_path / "run")
    assert result.code == 0, result.stderr

    if given == "names":
        radii = package.certify(moons_model, "two-moons", limit=25)
        found = package.attack(moons_model, "two-moons", limit=25, certificates=radii, **ASKED)
    else:
        data = images("two-moons", limit=25)
        x, y, model = data.batch(slice(None)), data.labels, package.load_model(str(moons_model))
        radii = package.certify(model.module, x)
        found = package.attack(model.module, x, y, certificates=radii, bounds=data.bounds, **ASKED)
    assert not package.crosscheck(radii, found)
    lines = (tmp_path / "run" / "records.jsonl").read_text().splitlines()
    assert [to_line(record) for record in found.records] == lines
    adversarials = read_adversarials(tmp_path / "run")
    assert adversarials
    assert all(np.array_equal(found.points[row], point) for row, point in adversarials.items())

"""`robench.attack` on tensors gives what the command line writes about the same model and images, bit by bit."""

from pathlib import Path
from typing import Any

import numpy as np

import robench as package
from robench import lipschitz, workflows
from robench.certificates.certify import certify_records
from robench.progress import NoProgress
from robench.records.record import to_line
from robench.runs.adversarials import read_adversarials
from robench.specs.data import DataSpec


def test_records_and_points_are_those_of_the_run_folder(robench: Any, moons_model: Path, tmp_path: Path) -> None:
    argv = (
        "--data",
        "two-moons",
        "--limit",
        25,
        "--eps",
        "0.05,0.1,0.5",
        "--attack",
        "pgd:steps=5",
        "--attack",
        "deepfool",
    )
    result = robench("attack", moons_model, *argv, "--out", tmp_path / "run")
    assert result.code == 0, result.stderr

    model = workflows.ModelRef(ref=str(moons_model)).load()
    data = workflows.DataRef(spec=DataSpec(name="two-moons"), limit=25).load(NoProgress())
    assert data.index.tolist() == list(range(25))
    found = package.attack(
        model.module,
        data.batch(slice(None)),
        data.labels,
        eps=["0.05", "0.1", "0.5"],
        attacks=["pgd:steps=5", "deepfool"],
        certificates=list(certify_records(model, lipschitz.bound_module(model.module, model.input_shape), data)),
        bounds=data.bounds,
    )
    assert [to_line(record) for record in found.records] == (
        tmp_path / "run" / "records.jsonl"
    ).read_text().splitlines()
    adversarials = read_adversarials(tmp_path / "run")
    assert adversarials
    assert all(np.array_equal(found.points[row], point) for row, point in adversarials.items())

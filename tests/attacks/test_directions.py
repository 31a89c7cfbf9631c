"""Slopes and angles of an attack run, against networks of which both are known."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from robench.attacks.directions import directions
from robench.data.memory import images
from robench.models import hold
from robench.records.direction import Direction
from robench.records.record import AttackOutcome, AttackRecord, AttackStatus
from robench.runs.directions import read_directions, write_directions


def record(index: int, label: int, predicted: int, reached: int | None) -> AttackRecord:
    status = AttackStatus.NOT_FOUND if reached is None else AttackStatus.FOUND
    outcome = AttackOutcome(status, None if reached is None else 0.5, reached)
    wrong = label != predicted
    return AttackRecord(
        index=index,
        input_sha256="",
        label=label,
        predicted=predicted,
        certified_radius=0.0,
        attacks={"a": outcome},
        distance=0.0 if wrong else outcome.distance,
        attack=None if reached is None else "a",
        eps=("1",),
    )


def linear(rows: list[list[float]]) -> nn.Module:
    layer = nn.Linear(len(rows[0]), len(rows))
    layer.weight.data, layer.bias.data = torch.tensor(rows), torch.zeros(len(rows))
    return layer.eval()


def test_one_logit() -> None:
    model = hold(linear([[3.0, 4.0]]), (2,))
    x = np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]], dtype=np.float32)
    data = images(x, np.array([1, 1, 0, 1]))
    records = [record(0, 1, 1, 0), record(1, 1, 1, 0), record(2, 0, 1, None), record(3, 1, 1, None)]
    points = {0: x[0] - np.float32([0.3, 0.4]), 1: x[1] + np.float32([0.4, -0.3])}
    found = directions(model, data, records, points, device=torch.device("cpu"))
    assert [item.slope for item in found] == 4 * [pytest.approx(5.0)]
    assert [item.cosine for item in found] == [pytest.approx(1.0), pytest.approx(0.0, abs=1e-6), None, None]


def test_several_logits_take_the_gap_to_the_class_that_was_reached() -> None:
    model = hold(linear([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]), (2,))
    x = np.array([[0.9, 0.1], [0.9, 0.1]], dtype=np.float32)
    data = images(x, np.array([0, 0]))
    points = {0: x[0] + np.float32([-0.1, 0.2]), 1: x[1] + np.float32([-0.1, 0.2])}
    found = directions(model, data, [record(0, 0, 0, 1), record(1, 0, 0, 2)], points, device=torch.device("cpu"))
    assert [item.slope for item in found] == [pytest.approx(1.0), pytest.approx(1.0)]
    assert [item.cosine for item in found] == [pytest.approx(1.0), pytest.approx(1 / 5**0.5)]


def test_they_are_read_as_they_were_written(tmp_path: Path) -> None:
    folder = tmp_path
    assert read_directions(folder) == []
    found = [Direction(index=3, slope=0.5, cosine=None), Direction(index=4, slope=1.0, cosine=-0.25)]
    write_directions(folder, found)
    assert read_directions(folder) == found

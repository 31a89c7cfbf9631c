"""Attack a model in a test."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from robench.attacks.ensemble import attack_batches
from robench.attacks.passes import PassCounter
from robench.attacks.plan import planned
from robench.records.certificates import certified_radii
from robench.records.record import AttackRecord, CertifyRecord
from robench.runs.adversarials import write_adversarials
from robench.specs.data import DataSpec
from robench.specs.evaluation import AttackSpec
from tests.attacks.nets import Data, Model

EPS = ("0.25", "0.5", "0.75", "1", "1.25", "1.5", "2", "2.5")


def attack(
    model: Model,
    data: Data,
    certificates: Mapping[int, CertifyRecord] | None = None,
    *,
    batch_size: int = 100,
    folder=None,
    skip=(),
    passes: PassCounter | None = None,
    eps=EPS,
    **spec,
) -> list[AttackRecord]:
    plan = planned(AttackSpec(data=DataSpec(name="digits"), eps=eps, **spec), data.bounds)
    passes = passes or PassCounter()
    radii, device = certified_radii(data.index, certificates or {}), torch.device("cpu")
    records = []
    for batch in attack_batches(
        model, data, radii, plan, batch_size=batch_size, device=device, passes=passes, skip=skip
    ):
        if folder is not None:
            write_adversarials(folder, batch.adversarials())
        records += batch.records()
    return records


def robust(records: list[AttackRecord], epsilon: float) -> int:
    return sum(record.robust_at(epsilon) for record in records)

"""Attack a model in a test."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from robench.attacks.cascade import attack_records
from robench.attacks.passes import PassCounter
from robench.progress import NoProgress
from robench.records.record import AttackRecord, CertifyRecord
from robench.runs.adversarials import AdversarialStore
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
    return list(
        attack_records(
            model,
            data,
            certificates or {},
            AttackSpec(data=DataSpec(name="digits"), eps=eps, **spec),
            batch_size=batch_size,
            device=torch.device("cpu"),
            skip=skip,
            progress=NoProgress(),
            adversarials=AdversarialStore(folder),
            passes=passes or PassCounter(),
        )
    )


def robust(records: list[AttackRecord], epsilon: float) -> int:
    return sum(record.robust_at(epsilon) for record in records)

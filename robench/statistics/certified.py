"""Summaries of runs: what `--json` prints, derived from the records and rebuildable from them. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from robench.numerics import round_down
from robench.records.record import CertifyRecord, Status
from robench.specs.epsilon import epsilon_value
from robench.statistics.predictions import accuracy_facts, by_class, record_flags

RULES = ("paper", "pairwise")


def radius(record: CertifyRecord, rule: str) -> float:
    """The certified radius of a correctly classified image by one rule; 0.0 where it is misclassified."""
    if record.status is Status.MISCLASSIFIED:
        return 0.0
    return record.radius_paper if rule == "paper" else record.radius_pairwise


def certify_summary(records: Sequence[CertifyRecord], eps: Sequence[str], audit: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracy, certified accuracy and mean certified radius.

    An image counts as certified at ε if it is correctly classified and its radius is strictly above ε. The mean
    counts misclassified images with radius 0.
    """
    n = len(records)
    counts = _counts(records, eps)
    mean = {rule: max(0.0, round_down(math.fsum(radius(record, rule) for record in records) / n, 2)) for rule in RULES}
    return {
        "command": "certify",
        "n": n,
        **accuracy_facts(records),
        "lipschitz_upper": audit["lipschitz_upper"],
        "lipschitz_lower": audit["lipschitz_lower"],
        "certified_accuracy": {rule: {text: k / n for text, k in row.items()} for rule, row in counts.items()},
        "n_certified": counts,
        "mean_radius": mean,
        "by_class": by_class(records, lambda members: {"n_certified": _counts(members, eps)}),
        "flags": [flag._asdict() for flag in record_flags(records)],
    }


def _counts(records: Sequence[CertifyRecord], eps: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many images are certified, by rule and ε."""
    return {
        rule: {text: sum(radius(record, rule) > epsilon_value(text) for record in records) for text in eps}
        for rule in RULES
    }

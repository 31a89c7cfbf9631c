"""Summaries of runs: what `--json` prints, derived from the records and rebuildable from them. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from robench.numerics import round_down
from robench.records import CertifyRecord, Status
from robench.specs.epsilon import epsilon_value

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
    certified: dict[str, dict[str, float]] = {}
    counts: dict[str, dict[str, int]] = {}
    mean: dict[str, float] = {}
    for rule in RULES:
        radii = [radius(record, rule) for record in records]
        counts[rule] = {text: sum(r > epsilon_value(text) for r in radii) for text in eps}
        certified[rule] = {text: count / n for text, count in counts[rule].items()}
        mean[rule] = max(0.0, round_down(math.fsum(radii) / n, 2))
    return {
        "command": "certify",
        "n": n,
        "n_correct": sum(record.status is not Status.MISCLASSIFIED for record in records),
        "accuracy": sum(record.status is not Status.MISCLASSIFIED for record in records) / n,
        "lipschitz_upper": audit["lipschitz_upper"],
        "lipschitz_lower": audit["lipschitz_lower"],
        "certified_accuracy": certified,
        "n_certified": counts,
        "mean_radius": mean,
    }

"""The summary of a run of a smoothed classifier, derived from its records. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from robench.numerics import round_down
from robench.records.record import SCHEMA_VERSION
from robench.records.smoothed import RULE, SMOOTHED_COMMAND, SmoothedRecord, SmoothedStatus, confidence
from robench.specs.smoothing import Sampling
from robench.statistics.predictions import Flag, Prediction, base_count, record_flags
from robench.statistics.tallies import rates, tally


def smoothed_summary(records: Sequence[SmoothedRecord], eps: Sequence[str], sampling: Sampling) -> dict[str, Any]:
    """What the records say in `summary.json`; docs/json.md describes the keys.

    An image counts as certified at ε if the smoothed classifier is right and its radius is strictly above ε.

    Args:
        records: of the whole run, at least one.
        eps: radii as written.
        sampling: how the smoothed classifier was asked.
    """
    n, correct = len(records), sum(record.correct for record in records)
    most = base_count([record.label for record in records])
    counts = tally(records, [RULE], eps, lambda record, _, value: record.certified_radius > value)
    mean = math.fsum(record.certified_radius for record in records) / n
    return {
        "schema_version": SCHEMA_VERSION,
        "command": SMOOTHED_COMMAND,
        "n": n,
        "n_correct": correct,
        "clean_accuracy": correct / n,
        "n_base": most,
        "base_rate": most / n,
        "n_abstained": sum(record.status is SmoothedStatus.ABSTAINED for record in records),
        "sampling": sampling.to_dict(),
        "confidence": {"each": 1.0 - sampling.alpha, "all": confidence(n, sampling.alpha)},
        "n_certified": counts,
        "certified_accuracy": rates(counts, n),
        "mean_radius": {RULE: max(0.0, round_down(mean, 2))},
        "by_class": _by_class(records, eps),
        "flags": [flag._asdict() for flag in smoothed_flags(records)],
    }


def smoothed_flags(records: Sequence[SmoothedRecord]) -> list[Flag]:
    """Flags on the predictions, of the images at which the smoothed classifier does not abstain."""
    return record_flags([Prediction(item.label, item.predicted) for item in records if item.predicted is not None])


def _by_class(records: Sequence[SmoothedRecord], eps: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Facts on the images of each true or predicted class."""
    predicted = {record.predicted for record in records if record.predicted is not None}
    found = {}
    for label in sorted({record.label for record in records} | predicted):
        members = [record for record in records if record.label == label]
        correct = sum(record.correct for record in members)
        found[str(label)] = {
            "n": len(members),
            "n_predicted": sum(record.predicted == label for record in records),
            "n_correct": correct,
            "clean_accuracy": correct / len(members) if members else None,
            "n_certified": tally(members, [RULE], eps, lambda record, _, value: record.certified_radius > value),
        }
    return found

"""The summary of a certify run, derived from its records and rebuildable from them. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from robench.numerics import round_down
from robench.records.record import SCHEMA_VERSION, CertifyRecord, Rule, rules_of
from robench.statistics.predictions import accuracy_facts, by_class, record_flags
from robench.statistics.tallies import rates, tally


def certify_summary(records: Sequence[CertifyRecord], eps: Sequence[str], audit: Mapping[str, Any]) -> dict[str, Any]:
    """What the records say in `summary.json` of a certify run; docs/json.md describes the keys.

    An image counts as certified at ε if it is correctly classified and its radius is strictly above ε.

    Args:
        records: of the whole run, at least one.
        eps: radii as written.
        audit: the bound of the model as plain data.
    """
    rules = rules_of(records)
    counts = tally(records, rules, eps, CertifyRecord.certified_to)
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "certify",
        **accuracy_facts(records),
        "lipschitz_upper": audit["lipschitz_upper"],
        "lipschitz_lower": audit["lipschitz_lower"],
        "certified_accuracy": rates(counts, len(records)),
        "n_certified": counts,
        "mean_radius": {rule: mean_radius(records, rule) for rule in rules},
        "by_class": by_class(
            records, lambda members: {"n_certified": tally(members, rules, eps, CertifyRecord.certified_to)}
        ),
        "flags": [flag._asdict() for flag in record_flags(records)],
    }


def mean_radius(records: Sequence[CertifyRecord], rule: Rule) -> float:
    """The mean certified radius, rounded down; a misclassified image has radius 0."""
    return max(0.0, round_down(math.fsum(record.radius(rule) for record in records) / len(records), 2))

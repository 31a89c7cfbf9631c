"""The summary of an attack run, from its records. No torch here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from robench.records.crosscheck import contradictions
from robench.records.record import AttackRecord, CertifyRecord
from robench.specs.epsilon import epsilon_value
from robench.statistics.budget import budgets, n_alone
from robench.statistics.predictions import FLAGS, accuracy_facts, by_class, record_flags
from robench.statistics.sparing import SHARE, spared_counts

COMBINED = "combined"


def summarize(
    records: Sequence[AttackRecord],
    eps: Sequence[str],
    *,
    full: bool,
    audited: bool,
    flags: Sequence[Mapping[str, Any]] = (),
    certificates: Sequence[CertifyRecord] = (),
    spent: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, Any]:
    """What the records say in `summary.json` of an attack run, and what each attack cost.

    Args:
        records: of the whole run, at least one.
        eps: the radii asked, as written.
        full: whether every attack saw every image that is not certified. Only then has a single attack a robust
            accuracy; of a cascade `broke` says what each attack did to the images that it was given.
        audited: whether the images have certificates; without them nothing is certified, which is not a rate of 0.
        flags: diagnostics raised, beside those that the records themselves raise.
        certificates: for the crosscheck by both rules; without them the radii in the records are judged.
        spent: sums of `effort.jsonl`.

    Returns:
        Rates as floats beside the counts they come from; keys of ε are the strings given.
    """
    n, facts = len(records), accuracy_facts(records)
    names = list(records[0].attacks)
    values = {text: epsilon_value(text) for text in eps}
    counts = {
        name: {text: sum(record.robust_to(name, value) for record in records) for text, value in values.items()}
        for name in (names if full else ())
    }
    counts[COMBINED] = _robust(records, values)
    certified = _certified(records, values, audited=audited)
    found = contradictions(certificates, records)
    return {
        "command": "attack",
        "n": n,
        "n_correct": facts["n_correct"],
        "clean_accuracy": facts["accuracy"],
        "n_base": facts["n_base"],
        "base_rate": facts["base_rate"],
        "robust_accuracy": {name: {t: k / n for t, k in column.items()} for name, column in counts.items()},
        "n_robust": counts,
        "certified_accuracy": {text: None if k is None else k / n for text, k in certified.items()},
        "n_certified": certified,
        "n_attacked": {name: sum(record.given_to(name) for record in records) for name in names},
        "n_broke": {
            name: {text: sum(record.broken_by(name, value) for record in records) for text, value in values.items()}
            for name in names
        },
        "n_alone": n_alone(records, eps),
        "budget": {name: item.to_dict() for name, item in budgets(records, eps, full=full, spent=spent).items()},
        "spared": None if full else _spared(records, eps),
        "by_class": by_class(
            records,
            lambda members: {
                "n_robust": _robust(members, values),
                "n_certified": _certified(members, values, audited=audited),
            },
        ),
        "violations": len(found),
        "contradictions": [dataclasses.asdict(item) for item in found],
        "full": full,
        "flags": [
            *(flag._asdict() for flag in record_flags(records)),
            *(dict(flag) for flag in flags if flag["name"] not in FLAGS),
        ],
    }


def _spared(records: Sequence[AttackRecord], eps: Sequence[str]) -> dict[str, Any]:
    """The rule that spares attacks, and the pairs of image and ε that stand with its help."""
    counts = spared_counts(records, eps)
    return {"share": SHARE, "n_pairs": sum(counts.values()), "n": counts}


def _robust(records: Sequence[AttackRecord], eps: Mapping[str, float]) -> dict[str, int]:
    """How many images stand against all attacks together, at each ε."""
    return {text: sum(record.robust_at(value) for record in records) for text, value in eps.items()}


def _certified(records: Sequence[AttackRecord], eps: Mapping[str, float], *, audited: bool) -> dict[str, int | None]:
    """How many images are certified at each ε; None where there are no certificates."""
    return {
        text: sum(record.certified_at(value) for record in records) if audited else None for text, value in eps.items()
    }

"""The summary of an attack run, derived from its records and rebuildable from them. No torch here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from robench.records.crosscheck import contradictions
from robench.records.record import COMBINED, SCHEMA_VERSION, AttackRecord, CertifyRecord, Rule, rules_of
from robench.statistics.budget import attack_names, budgets, n_alone
from robench.statistics.predictions import accuracy_facts, all_flags, by_class
from robench.statistics.sparing import SHARE, spared_counts
from robench.statistics.tallies import rates, tally


def attack_summary(
    records: Sequence[AttackRecord],
    eps: Sequence[str],
    *,
    full: bool,
    audited: bool,
    flags: Sequence[Mapping[str, Any]] = (),
    certificates: Sequence[CertifyRecord] = (),
    spent: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, Any]:
    """What the records say in `summary.json` of an attack run; docs/json.md describes the keys.

    Args:
        records: of the whole run, at least one.
        eps: the radii asked, as written.
        full: whether every attack saw every image that is not certified. Only then has a single attack a robust
            accuracy; of an ensemble `n_broke` says what each attack did to the images that it was given.
        audited: whether the images have certificates; without them nothing is certified, which is not a rate of 0.
        flags: diagnostics raised, beside those that the records themselves raise.
        certificates: of the same images, for the crosscheck, and for counts by each rule; without them the radii in
            the records are judged, and taken for `pairwise`.
        spent: sums of `effort.jsonl`.
    """
    known = {record.index: record for record in certificates}
    rules = rules_of(certificates)[1:]

    def n_robust(some: Sequence[AttackRecord], attacks: Sequence[str] = ()) -> dict[str, dict[str, int]]:
        return tally(some, [*attacks, COMBINED], eps, AttackRecord.robust_to)

    def n_certified(some: Sequence[AttackRecord]) -> Mapping[str, Mapping[str, int | None]]:
        return tally(some, rules, eps, certified_to) if audited else {rule: dict.fromkeys(eps) for rule in rules}

    def certified_to(record: AttackRecord, rule: Rule, epsilon: float) -> bool:
        return record.certified_at(epsilon) if rule == rules[-1] else known[record.index].certified_to(rule, epsilon)

    names = attack_names(records)
    robust, certified = n_robust(records, names if full else ()), n_certified(records)
    found = contradictions(certificates, records)
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "attack",
        **accuracy_facts(records),
        "robust_accuracy": rates(robust, len(records)),
        "n_robust": robust,
        "certified_accuracy": rates(certified, len(records)),
        "n_certified": certified,
        "n_broke": tally(records, names, eps, AttackRecord.broken_by),
        "n_alone": n_alone(records, eps),
        "budget": {name: item.to_dict() for name, item in budgets(records, eps, full=full, spent=spent).items()},
        "spared": None if full else _spared(records, eps),
        "by_class": by_class(
            records, lambda members: {"n_robust": n_robust(members), "n_certified": n_certified(members)}
        ),
        "violations": len(found),
        "contradictions": [dataclasses.asdict(item) for item in found],
        "full": full,
        "flags": [flag._asdict() for flag in all_flags(records, flags)],
    }


def _spared(records: Sequence[AttackRecord], eps: Sequence[str]) -> dict[str, Any]:
    """The rule that spares attacks, and the pairs of image and ε that stand with its help."""
    counts = spared_counts(records, eps)
    return {"share": SHARE, "n_pairs": sum(counts.values()), "n_spared": counts}

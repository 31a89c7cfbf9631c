"""The summary of an attack run, from its records. No torch here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from robench.crosscheck import contradictions
from robench.records import AttackRecord, AttackStatus, CertifyRecord
from robench.specs.epsilon import epsilon_value

COMBINED = "combined"


def summarize(
    records: Sequence[AttackRecord],
    eps: Sequence[str],
    *,
    full: bool,
    passes: Mapping[str, int],
    seconds: float,
    flags: Sequence[Mapping[str, Any]] = (),
    certificates: Sequence[CertifyRecord] = (),
) -> dict[str, Any]:
    """What `summary.json` of an attack run says.

    Args:
        records: of the whole run, at least one.
        eps: the radii asked, as written.
        full: whether every attack saw every image; otherwise a column counts what that attack itself broke among
            what it was given, so it is never below the combined one.
        passes: `PassCounter.to_dict()`.
        seconds: wall time of all parts of the run.
        flags: diagnostics raised.
        certificates: for the crosscheck by both rules; without them the radii in the records are judged.

    Returns:
        Rates as floats beside the counts they come from; keys of ε are the strings given.
    """
    n = len(records)
    names = list(records[0].attacks)
    values = {text: epsilon_value(text) for text in eps}
    counts = {
        name: {text: sum(record.robust_to(name, value) for record in records) for text, value in values.items()}
        for name in names
    }
    counts[COMBINED] = {text: sum(r.robust_at(value) for r in records) for text, value in values.items()}
    certified = {text: sum(r.certified_at(value) for r in records) for text, value in values.items()}
    correct = sum(record.correct for record in records)
    found = contradictions(certificates, records)
    return {
        "command": "attack",
        "n": n,
        "n_correct": correct,
        "clean_accuracy": correct / n,
        "robust_accuracy": {name: {t: k / n for t, k in column.items()} for name, column in counts.items()},
        "n_robust": counts,
        "certified_accuracy": {text: k / n for text, k in certified.items()},
        "n_certified": certified,
        "n_attacked": {name: sum(_ran(record, name) for record in records) for name in names},
        "violations": len(found),
        "contradictions": [dataclasses.asdict(item) for item in found],
        "passes": dict(passes),
        "seconds": seconds,
        "full": full,
        "flags": [dict(flag) for flag in flags],
    }


def _ran(record: AttackRecord, name: str) -> bool:
    return record.attacks[name].status is not AttackStatus.NOT_RUN

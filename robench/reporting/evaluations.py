"""Runs joined to evaluations: which belong together, and what each evaluation is called."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from robench.records.record import AttackRecord, CertifyRecord
from robench.reporting.evaluation import Evaluation
from robench.runs.run import AnyRun, Run, read_runs


def read_evaluations(paths: Sequence[Path]) -> list[Evaluation]:
    """All certify and attack runs at or below some paths, joined by model and data, in one fixed order.

    Raises:
        RunError: there is no such run, or one of them cannot be read or is of another schema version.
    """
    return evaluations_of(read_runs(paths))


def evaluations_of(runs: Iterable[AnyRun]) -> list[Evaluation]:
    """Runs joined by model and data, one evaluation a model, in one fixed order."""
    groups: dict[tuple[str, ...], list[AnyRun]] = defaultdict(list)
    for run in runs:
        groups[(*run.model_key, *run.data_key)].append(run)
    found = [_joined(group) for group in groups.values()]
    found.sort(key=lambda item: (item.data_name, item.name, item.model_key, [run.name for run in item.runs]))
    return _distinct(found)


def _joined(group: Sequence[AnyRun]) -> Evaluation:
    """What the largest runs of a model say; the others stand behind it."""
    by_arithmetic: dict[str, list[AnyRun]] = defaultdict(list)
    for run in group:
        by_arithmetic[run.arithmetic].append(run)
    found = [evaluation for runs in by_arithmetic.values() for evaluation in _pair(runs)]
    found.sort(key=_place)
    largest, *rest = found
    return replace(largest, others=tuple(rest))


def _place(item: Evaluation) -> tuple[Any, ...]:
    """Where an evaluation stands among those of its model; the first one counts.

    The run of most attacks comes first, of equal ones the largest, and of these that which left fewer images standing,
    so that no weaker attack can hide what a stronger one found. Deployed arithmetic has no attacks and stands behind.
    """
    attack, certify = item.attack, item.certify
    broken = sum(record.correct and record.distance is not None for record in attack.records) if attack else 0
    return (
        item.runs[0].arithmetic != "float64",
        -len(item.attacks) if attack else 0,
        -(attack.n if attack else 0),
        -broken,
        -(certify.n if certify else 0),
        [run.name for run in item.runs],
    )


def _pair(group: Sequence[Any]) -> list[Evaluation]:
    """Each attack run beside the largest certify run; other certify runs alone. All are of one arithmetic."""
    certifies: list[Run[CertifyRecord]] = [run for run in group if run.command == "certify"]
    attacks: list[Run[AttackRecord]] = [run for run in group if run.command == "attack"]
    largest = max(certifies, key=lambda run: run.n, default=None)
    paired = [(largest, attack) for attack in attacks]
    alone = [(run, None) for run in certifies if not attacks or run is not largest]
    return [_evaluation(certify, attack) for certify, attack in [*paired, *alone]]


def _evaluation(certify: Run[CertifyRecord] | None, attack: Run[AttackRecord] | None) -> Evaluation:
    evaluation = Evaluation(name="", certify=certify, attack=attack)
    name = evaluation.model.name or evaluation.runs[0].model_name
    arithmetic = evaluation.runs[0].arithmetic
    return replace(evaluation, name=name if arithmetic == "float64" else f"{name} in {arithmetic}")


def _distinct(evaluations: list[Evaluation]) -> list[Evaluation]:
    """Names that tell the evaluations apart: by weights, function, data, and files of the data."""
    additions: tuple[Callable[[Evaluation], str], ...] = (
        lambda item: item.weights_sha256[:8],
        lambda item: f"function {item.model_key[1][:8]}",
        lambda item: item.data_name,
        lambda item: f"data {(item.data.sha256 or '')[:8]}",
    )
    for addition in additions:
        variants: dict[str, set[str]] = defaultdict(set)
        for item in evaluations:
            variants[item.name].add(addition(item))
        evaluations = [
            replace(item, name=f"{item.name} ({addition(item)})") if len(variants[item.name]) > 1 else item
            for item in evaluations
        ]
    return [replace(item, others=tuple(_further(item.name, other) for other in item.others)) for item in evaluations]


def _further(name: str, other: Evaluation) -> Evaluation:
    """An evaluation by further runs, which has the name of its model and of its own run."""
    own = other.attack or other.runs[-1]
    return replace(other, name=f"{name}, run {own.name}")

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
    """Runs joined by model and data, in one fixed order."""
    groups: dict[tuple[str, ...], list[AnyRun]] = defaultdict(list)
    for run in runs:
        groups[(*run.model_key, *run.data_key, run.arithmetic)].append(run)
    found = [evaluation for group in groups.values() for evaluation in _pair(group)]
    found.sort(key=lambda item: (item.data_name, item.name, item.model_key, [run.name for run in item.runs]))
    return _distinct(found)


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
    if arithmetic != "float64":
        name = f"{name} in {arithmetic}"
    return replace(evaluation, name=name)


def _distinct(evaluations: list[Evaluation]) -> list[Evaluation]:
    """Names that tell the evaluations apart: first by weights, then by function, then by data, then by run."""
    additions: tuple[Callable[[Evaluation], str], ...] = (
        lambda item: item.weights_sha256[:8],
        lambda item: f"function {item.model_key[1][:8]}",
        lambda item: item.data_name,
        lambda item: item.runs[-1].name,
    )
    for addition in additions:
        variants: dict[str, set[str]] = defaultdict(set)
        for item in evaluations:
            variants[item.name].add(addition(item))
        evaluations = [
            replace(item, name=f"{item.name} ({addition(item)})") if len(variants[item.name]) > 1 else item
            for item in evaluations
        ]
    return evaluations

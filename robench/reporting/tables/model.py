"""Tables of one model. Certified and attacked rates of one table are of the same images."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from robench.records.record import COMBINED, RULES, AttackStatus, Rule
from robench.reporting.evaluation import Evaluation
from robench.reporting.tables import cells
from robench.reporting.tables.table import Broke, Column, Rate, Table, above, below, by_eps, intervals, names
from robench.specs.epsilon import epsilon_value
from robench.statistics.budget import DIRECTIONS, passes_of
from robench.statistics.curves import Curve


def accuracy(evaluation: Evaluation) -> Table:
    """One row an ε: certified by each rule, under each attack and combined.

    95 % Clopper-Pearson intervals stand beside the tightest rule and beside combined.
    """
    robust, asked = evaluation.robust(), evaluation.attacked_eps
    columns: list[Column[str]] = [
        Column("ε", lambda eps: eps),
        *(Column(f"certified % ({rule})", _certified(evaluation, rule)) for rule in evaluation.rules or RULES[:2]),
        intervals("95 % interval, certified", lambda eps: cells.interval(evaluation.certified_on_attacked(), eps)),
    ]
    if robust is not None:
        columns += [
            Column("combined %", lambda eps: cells.combined(evaluation, eps)),
            intervals("95 % interval, combined", lambda eps: cells.interval(robust if eps in asked else None, eps)),
        ]
        unit = " %" if evaluation.full else ""
        columns += [Column(f"{name}{unit}", _under(evaluation, name)) for name in evaluation.attacks]
    return Table.of(evaluation.eps, columns)


def by_class(evaluation: Evaluation) -> Table:
    """One row a true class: its images, how many are predicted so, accuracy, and at each ε certified and attacked.

    All of the same images: the attacked ones where there was an attack run.
    """
    run = evaluation.attack if evaluation.attack and evaluation.attack.n else evaluation.runs[0]
    labels = np.array([record.label for record in run.records])
    predicted = np.array([record.predicted for record in run.records])
    certified, robust = evaluation.certified_on_attacked(), evaluation.robust()
    tightest = (evaluation.rules or RULES[:2])[-1]

    def row(label: int) -> _Class:
        members = labels == label
        correct = int((predicted[members] == label).sum())
        low, high = (None if curve is None else Curve(curve.thresholds[members]) for curve in (certified, robust))
        return _Class(
            evaluation.data.class_name(label), int(members.sum()), int((predicted == label).sum()), correct, low, high
        )

    rows = [row(label) for label in np.union1d(labels, predicted).tolist()]
    columns: list[Column[_Class]] = [
        names("class", lambda row: row.name, numbered=_are_numbers([row.name for row in rows])),
        Column("n", lambda row: row.n),
        Column("predicted", lambda row: row.predicted),
        Column("clean %", lambda row: Rate(row.correct, row.n, proven=False) if row.n else None),
        *by_eps(f"certified % ({tightest})", evaluation.eps, lambda row, eps: cells.certified(row.certified, eps)),
    ]
    if robust is not None:
        columns += by_eps(
            "attacked % (combined)", evaluation.attacked_eps, lambda row, eps: cells.under_attack(row.robust, eps)
        )
    return Table.of(rows, columns)


def attack_outcomes(evaluation: Evaluation) -> Table:
    """One row an attack: on how many images it found an adversarial, and how far away."""
    records = evaluation.attack.records if evaluation.attack else ()
    outcomes = {
        name: [record.attacks[name] for record in records if name in record.attacks] for name in evaluation.attacks
    }
    distances = {
        name: [outcome.distance for outcome in found if outcome.distance is not None]
        for name, found in outcomes.items()
    }
    counts = {name: Counter(outcome.status for outcome in found) for name, found in outcomes.items()}
    return Table.of(evaluation.attacks, [
        names("attack", lambda name: name),
        Column("found", lambda name: counts[name][AttackStatus.FOUND]),
        Column("nothing found", lambda name: counts[name][AttackStatus.NOT_FOUND]),
        Column("not run", lambda name: counts[name][AttackStatus.NOT_RUN]),
        Column("nearest of all", lambda name: sum(record.attack == name for record in records)),
        above("median distance", lambda name: statistics.median(distances[name]) if distances[name] else None, 3),
        above("largest distance", lambda name: max(distances[name], default=None), 3),
    ])  # fmt: skip


def budget(evaluation: Evaluation) -> Table:
    """One row an attack: what it broke, what it broke alone, how often it was nearest, its passes and its optimality.

    The last row is the whole run; its passes hold the clean predictions too.
    """
    run, eps = evaluation.attack, evaluation.attacked_eps
    if run is None or not run.n:
        return Table((), ())
    alone = evaluation.alone
    rows = [
        _Budget(name, Broke(item.broke, item.given), item._asdict(), alone[name])
        for name, item in evaluation.budgets.items()
    ]
    top = epsilon_value(eps[-1])
    given = [record for record in run.records if any(record.given_to(name) for name in evaluation.attacks)]
    passes = {way: passes_of(run.spent, COMBINED, way) for way in DIRECTIONS}
    rows.append(_Budget(COMBINED, Broke(sum(not record.robust_at(top) for record in given), len(given)), passes, {}))
    columns: list[Column[_Budget]] = [
        names("attack", lambda row: row.attack),
        Column("broke", lambda row: row.broke if row.broke.given else None),
        Column("broke alone", lambda row: row.facts.get("alone")),
        *by_eps("broke alone at", eps, lambda row, text: row.alone.get(text)),
        Column("nearest of all", lambda row: row.facts.get("nearest")),
        Column("forward passes", lambda row: row.facts["forward"]),
        Column("backward passes", lambda row: row.facts["backward"]),
    ]
    if evaluation.full:
        columns.append(below("optimality", lambda row: row.facts.get("optimality"), 3))
    return Table.of(rows, columns)


def audit(evaluation: Evaluation) -> Table:
    """One row a layer: its operation and the upper bound of its Lipschitz constant."""
    layers = evaluation.bound.layers
    return Table.of(enumerate(layers, start=1), [
        Column("#", lambda row: row[0]),
        names("layer", lambda row: row[1].name, numbered=_are_numbers([layer.name for layer in layers])),
        names("operation", lambda row: row[1].operation),
        above("Lipschitz upper", lambda row: row[1].lipschitz_upper, 6),
    ])  # fmt: skip


def _certified(evaluation: Evaluation, rule: Rule) -> Callable[[str], Any]:
    return lambda eps: cells.certified(evaluation.certified_on_attacked(rule), eps)


def _under(evaluation: Evaluation, attack: str) -> Callable[[str], Any]:
    return lambda eps: cells.attacked(evaluation, attack, eps)


class _Class(NamedTuple):
    name: str
    n: int
    predicted: int
    correct: int
    certified: Curve | None
    robust: Curve | None


class _Budget(NamedTuple):
    attack: str
    broke: Broke
    facts: Mapping[str, Any]
    alone: Mapping[str, int]


def _are_numbers(texts: Sequence[str]) -> bool:
    """Whether names are numbers, as the places of layers and the classes of digits are."""
    return all(not text or text.replace(".", "").isdigit() for text in texts)

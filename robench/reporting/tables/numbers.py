"""Long data frames of exact numbers, one row each, for further computation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from robench.records.record import COMBINED, RULES
from robench.reporting.evaluation import Evaluation
from robench.specs.epsilon import epsilon_value
from robench.statistics.budget import AttackBudget
from robench.statistics.curves import Curve


def rates(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """Every rate: count, n, rate, 95 % interval."""
    return pd.DataFrame([
        {**_head(item), "measure": measure, "eps": text, **_numbers(curve, epsilon_value(text))}
        for evaluation in evaluations
        for item in evaluation.whole
        for measure, curve, eps in _curves(item)
        for text in eps
    ])  # fmt: skip


def budgets(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """The budget of every attack; empty where not known."""
    rows = [
        {**_head(item), "full": item.full, "attack": name, **budget.to_dict()}
        for evaluation in evaluations
        for item in evaluation.whole
        for name, budget in item.budgets.items()
    ]
    columns = ["model", "data", "weights_sha256", "full", "attack", *AttackBudget._fields]
    return pd.DataFrame(rows, columns=columns).convert_dtypes()


def _head(item: Evaluation) -> dict[str, Any]:
    return {"model": item.name, "data": item.data_name, "weights_sha256": item.weights_sha256}


def _numbers(curve: Curve, radius: float) -> dict[str, Any]:
    low, high = curve.interval(radius)
    return {
        "count": int(curve.counts(radius)),
        "n": curve.n,
        "rate": float(curve.rate(radius)),
        "interval_low": float(low),
        "interval_high": float(high),
    }


def _curves(item: Evaluation) -> Iterator[tuple[str, Curve, tuple[str, ...]]]:
    """What each rate of an evaluation is called, its curve, and the radii it speaks of."""
    found = [
        *((f"certified {rule}", item.certified(rule), item.eps) for rule in RULES),
        *((f"attacked {name}", item.robust(name), item.attacked_eps) for name in (COMBINED, *item.attacks)),
    ]
    return ((measure, curve, eps) for measure, curve, eps in found if curve is not None)

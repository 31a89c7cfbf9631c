"""The rates of an evaluation as cells, with their counts; None where there is none."""

from __future__ import annotations

import numpy as np

from robench.records.record import COMBINED
from robench.records.smoothed import SmoothedRecord
from robench.reporting.evaluation import Evaluation
from robench.reporting.tables.table import Broke, Rate
from robench.runs.run import AnyRun, Run
from robench.specs.epsilon import epsilon_value
from robench.statistics.curves import Curve
from robench.statistics.intervals import Interval
from robench.statistics.predictions import base_count


def certified(curve: Curve | None, eps: str) -> Rate | None:
    """The certified rate at one ε."""
    return None if curve is None else _rate(curve, epsilon_value(eps), proven=True)


def under_attack(curve: Curve | None, eps: str) -> Rate | None:
    """The rate under attack at one ε."""
    return None if curve is None else _rate(curve, epsilon_value(eps), proven=False)


def attacked(evaluation: Evaluation, attack: str, eps: str) -> Rate | Broke | None:
    """The rate under an attack, or what an attack of an ensemble broke; None unless the attacks were asked about ε.

    Args:
        evaluation: the model.
        attack: its name, or `COMBINED`.
        eps: as written.
    """
    radius = epsilon_value(eps)
    if radius not in {epsilon_value(text) for text in evaluation.attacked_eps}:
        return None
    curve = evaluation.robust(attack)
    if curve is not None:
        return _rate(curve, radius, proven=False)
    given = evaluation.given.get(attack, np.empty(0))
    return Broke(int(np.count_nonzero(given <= radius)), len(given)) if len(given) else None


def combined(evaluation: Evaluation, eps: str) -> Rate | None:
    """The rate under all attacks together."""
    cell = attacked(evaluation, COMBINED, eps)
    return cell if isinstance(cell, Rate) else None


def clean(run: AnyRun | None) -> Rate | None:
    """Clean accuracy on the images of a run: accuracy under attack at ε = 0."""
    if run is None or not run.n:
        return None
    return Rate(sum(record.predicted == record.label for record in run.records), run.n, proven=False)


def base(run: AnyRun | Run[SmoothedRecord] | None) -> Rate | None:
    """The base rate of the images of a run; it is rounded as the accuracy that it is held against."""
    if run is None or not run.n:
        return None
    return Rate(base_count([record.label for record in run.records]), run.n, proven=False)


def interval(curve: Curve | None, eps: str) -> Interval | None:
    """The 95 % interval of a rate."""
    return None if curve is None else curve.interval(epsilon_value(eps))


def _rate(curve: Curve, radius: float, *, proven: bool) -> Rate | None:
    return Rate(int(curve.counts(radius)), curve.n, proven) if curve.n else None

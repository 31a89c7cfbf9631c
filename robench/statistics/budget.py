"""What each attack of a run was given, what it alone was good for, and what it cost in passes. No torch here.

Optimality is that of AttackBench (Cinà et al., arXiv 2404.19460), on the curve of accuracy against ε up to the largest
ε that was asked: 1 - (area(attack) - area(best)) / (clean accuracy * largest ε - area(best)), where the best takes for
each image the nearest adversarial of all attacks of the run. The curve is a staircase, and its area is taken exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from robench.arrays import Array, Flags
from robench.records.record import COMBINED, AttackRecord
from robench.specs.epsilon import epsilon_value
from robench.statistics import curves
from robench.statistics.curves import Curve

DIRECTIONS = ("forward", "backward")


class AttackBudget(NamedTuple):
    """What one attack did and what it cost.

    Fields:
        given: images on which it ran.
        broke: of them, how many it broke itself within the largest ε asked.
        alone: images that at one of the ε asked, or more, it broke and no other attack of the run did.
        nearest: images whose nearest adversarial is its own; of equal distances the first attack's.
        forward, backward: passes of one image, its refinement and verification included; None if they were not noted.
        optimality: 0 to 1, the best; None for the attacks of an ensemble, and where no attack broke anything.
    """

    given: int
    broke: int
    alone: int
    nearest: int
    forward: int | None
    backward: int | None
    optimality: Fraction | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in `summary.json`."""
        return {**self._asdict(), "optimality": None if self.optimality is None else float(self.optimality)}


def effort_name(attack: str, direction: str) -> str:
    """What the passes of an attack are called in `effort.jsonl`; never what the passes of the whole run are called."""
    return f"{attack} {direction}"


def budgets(
    records: Sequence[AttackRecord], eps: Sequence[str], *, full: bool, spent: Mapping[str, float]
) -> dict[str, AttackBudget]:
    """The budget of each attack, in the order of the ensemble.

    Args:
        records: of a run.
        eps: the radii asked, as written.
        full: whether every attack saw every image that is not certified.
        spent: sums of `effort.jsonl`.
    """
    names = attack_names(records)
    top = max((epsilon_value(text) for text in eps), default=0.0)
    found = distances(records)
    alone = _alone(found, eps)
    combined = curves.robust(records) if full else None
    result = {}
    for place, name in enumerate(names):
        result[name] = AttackBudget(
            given=sum(record.given_to(name) for record in records),
            broke=int((found[:, place] <= top).sum()),
            alone=int(alone[:, place].any(axis=1).sum()),
            nearest=sum(record.attack == name for record in records),
            forward=passes_of(spent, name, "forward"),
            backward=passes_of(spent, name, "backward"),
            optimality=None if combined is None else _optimality(records, name, combined, top),
        )
    return result


def passes_of(spent: Mapping[str, float], attack: str, direction: str) -> int | None:
    """The passes of one attack, or of the whole run (`COMBINED`); None if they were not noted.

    Args:
        spent: sums of `effort.jsonl`.
        attack: its name, or `COMBINED`.
        direction: `forward` or `backward`.
    """
    amount = spent.get(direction if attack == COMBINED else effort_name(attack, direction))
    return None if amount is None else int(amount)


def attack_names(records: Sequence[AttackRecord]) -> tuple[str, ...]:
    """Names of the attacks, in the order of the ensemble."""
    return tuple(records[0].attacks) if records else ()


def distances(records: Sequence[AttackRecord]) -> Float64[Array, "n attacks"]:
    """Distance of the adversarial that each attack found for each image; infinite where it found none."""
    names = attack_names(records)
    found = [[record.attacks[name].distance for name in names] for record in records]
    return np.array([[np.inf if value is None else value for value in row] for row in found]).reshape(-1, len(names))


def broke_alone(records: Sequence[AttackRecord], eps: Sequence[str]) -> Bool[Flags, "n attacks k"]:
    """Whether an attack broke an image at an ε at which no other attack of the run did."""
    return _alone(distances(records), eps)


def _alone(found: Float64[Array, "n attacks"], eps: Sequence[str]) -> Bool[Flags, "n attacks k"]:
    hit = found[:, :, None] <= np.array([epsilon_value(text) for text in eps])
    return np.asarray(hit & (hit.sum(axis=1, keepdims=True) == 1))


def n_alone(records: Sequence[AttackRecord], eps: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many images each attack broke alone at each ε."""
    counts = broke_alone(records, eps).sum(axis=0).tolist()
    return {name: dict(zip(eps, row, strict=True)) for name, row in zip(attack_names(records), counts, strict=True)}


def _optimality(records: Sequence[AttackRecord], attack: str, combined: Curve, top: float) -> Fraction | None:
    """AttackBench's local optimality of an attack that saw every image; None where the best attack broke nothing.

    Args:
        records: of the whole run.
        attack: its name.
        combined: their curve under all attacks together.
        top: the largest ε asked.
    """
    untouched, best = curves.clean(records) * Fraction(top), area(combined, top)
    if untouched == best:
        return None
    return 1 - (area(curves.robust(records, attack), top) - best) / (untouched - best)


def area(curve: Curve, top: float) -> Fraction:
    """The exact area under a curve from 0 to `top`."""
    return Curve(np.minimum(curve.thresholds, top)).mean


def course(records: Sequence[AttackRecord]) -> list[Curve]:
    """The combined accuracy as the run went on: before any attack, after the first, after the first two, and so on."""
    clean = np.where([record.correct for record in records], np.inf, 0.0)
    reached = np.minimum.accumulate(np.column_stack([clean, distances(records)]), axis=1)
    return [Curve(thresholds) for thresholds in reached.T]

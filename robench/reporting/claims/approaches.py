"""The approaches that the paper compares, found among run folders: same data, same architecture, several seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from robench.records.record import COMBINED, AttackRecord
from robench.reporting.evaluation import Evaluation
from robench.runs.facts import TrainingFacts
from robench.specs.epsilon import ascending, epsilon_value
from robench.statistics.paired import Estimate, paired_difference

HKR = "hkr"
PAPER_NAMES = {
    "adv": "Adv",
    "1lip-log": "1LIP_log",
    "gnp-hinge": "GNP_hin",
    "gnp-log": "GNP_log",
    HKR: "hKR",
}
"""Recipes of robench, and what the paper calls them."""
USUAL_ALPHA, USUAL_MARGIN = 50.0, 1.0
"""What the paper has where it says nothing else."""
Key = tuple[int, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Approach:
    """Models that differ in nothing but their seed, on one data set.

    Fields:
        training: of the first of them.
        evaluations: by seed, those of one attack run each.
        apart: what tells it from others of the same name in its field; mostly nothing.
    """

    training: TrainingFacts
    evaluations: tuple[Evaluation, ...]
    apart: str = ""

    @property
    def recipe(self) -> str:
        """By which they were trained."""
        return self.training.recipe

    @property
    def margin(self) -> float | None:
        """The margin of the hinge; None for other losses."""
        value = self.training.loss.get("margin")
        return float(value) if isinstance(value, int | float) and self.recipe in (HKR, "gnp-hinge") else None

    @property
    def alpha(self) -> float | None:
        """Weight of the hinge of hKR; None for other losses."""
        value = self.training.loss.get("alpha")
        return float(value) if isinstance(value, int | float) and self.recipe == HKR else None

    @property
    def name(self) -> str:
        """As the paper writes it, such as `hKR, α = 50, m = 1`."""
        parts = [PAPER_NAMES.get(self.recipe, self.recipe)]
        parts += [] if self.alpha is None else [f"α = {self.alpha:g}"]
        parts += [] if self.margin is None else [f"m = {self.margin:g}"]
        parts += [self.apart] if self.apart else []
        return ", ".join(parts)

    @property
    def attacks(self) -> tuple[str, ...]:
        """That ran on every image that is not certified, in all its runs; without the combined rule."""
        runs = [item.attacks if item.full else () for item in self.evaluations]
        return tuple(name for name in runs[0] if all(name in others for others in runs))

    @property
    def eps(self) -> tuple[str, ...]:
        """Radii that all its runs were asked about."""
        shared = set.intersection(*(set(item.attacked_eps) for item in self.evaluations))
        return ascending(shared)

    @cached_property
    def _records(self) -> list[dict[Key, AttackRecord]]:
        runs = [item.attack.records if item.attack else () for item in self.evaluations]
        return [{(record.index, record.input_sha256): record for record in records} for records in runs]

    @property
    def images(self) -> set[Key]:
        """Those that all its runs attacked."""
        return set.intersection(*(set(records) for records in self._records))

    def robust(self, keys: Sequence[Key], eps: str, attack: str = COMBINED) -> npt.NDArray[np.float64]:
        """For each image the share of the models that stand at ε under an attack.

        Args:
            keys: images.
            eps: L2 radius, as written.
            attack: its name; all together if none is named.
        """
        radius = epsilon_value(eps)
        stand = [[records[key].robust_to(attack, radius) for key in keys] for records in self._records]
        return np.asarray(np.mean(np.asarray(stand, dtype=np.float64), axis=0))

    def correct(self) -> dict[Key, float]:
        """For each image of the certify runs, or of the attack runs, the share of the models that are right."""
        runs = [
            {(record.index, record.input_sha256): record.predicted == record.label for record in item.largest.records}
            for item in self.evaluations
        ]
        shared = set.intersection(*(set(run) for run in runs))
        return {key: float(np.mean([run[key] for run in runs])) for key in sorted(shared)}

    @property
    def trainings(self) -> tuple[TrainingFacts, ...]:
        """Of all its models."""
        found = (next((run.training for run in item.runs if run.training), None) for item in self.evaluations)
        return tuple(training for training in found if training is not None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Field:
    """The approaches on one data set with one architecture.

    Fields:
        data: name of the data set and its split.
        arch: architecture.
        approaches: all that there are.
    """

    data: str
    arch: str
    approaches: tuple[Approach, ...]

    @property
    def name(self) -> str:
        """Data and architecture."""
        return f"{self.data}, {self.arch}"

    def of(self, recipe: str) -> tuple[Approach, ...]:
        """Those of one recipe."""
        return tuple(item for item in self.approaches if item.recipe == recipe)

    def rivals(self, own: Approach) -> tuple[Approach, ...]:
        """What the paper holds an hKR model against: its other approaches, hinge losses at the same margin only."""
        others = (item for item in self.approaches if item.recipe in PAPER_NAMES and item.recipe != own.recipe)
        return tuple(item for item in others if item.margin in (None, own.margin))


def fields(evaluations: Iterable[Evaluation], attacks: frozenset[str] | None = None) -> list[Field]:
    """The approaches among evaluations, by data set and architecture; models that robench did not train are left out.

    Args:
        evaluations: of all runs.
        attacks: of the attack runs that are meant; None for the run of each model that has most attacks.
    """
    chosen: dict[tuple[str, ...], Evaluation] = {}
    for item in (part for evaluation in evaluations for part in evaluation.whole):
        if item.attack is None or (attacks is not None and frozenset(item.attacks) != attacks):
            continue
        before = chosen.get(item.model_key)
        if before is None or len(item.attacks) > len(before.attacks):
            chosen[item.model_key] = item
    grouped: dict[tuple[str, str, str], list[tuple[TrainingFacts, Evaluation]]] = defaultdict(list)
    for item in chosen.values():
        training = next((run.training for run in item.runs if run.training is not None), None)
        if training is not None:
            grouped[item.data_name, training.arch, training.settings].append((training, item))
    found: dict[tuple[str, str], list[Approach]] = defaultdict(list)
    for (data, arch, _), members in sorted(grouped.items(), key=lambda group: group[0]):
        members.sort(key=lambda member: member[0].seed)
        evaluated = tuple(item for _, item in members)
        found[data, arch].append(Approach(training=members[0][0], evaluations=evaluated))
    return [
        Field(data=data, arch=arch, approaches=_told_apart(sorted(members, key=lambda one: _place(one))))
        for (data, arch), members in sorted(found.items())
    ]


def _told_apart(approaches: Sequence[Approach]) -> tuple[Approach, ...]:
    """The same ones, each with a name of its own: by its constraint, its epochs, or what its first model is called."""
    marks = (
        lambda item: item.training.constraint,
        lambda item: f"{item.training.epochs} epochs",
        lambda item: item.evaluations[0].name,
        lambda item: f"settings {item.training.settings[:6]}",
    )
    found = []
    for item in approaches:
        alike = [other for other in approaches if other.name == item.name]
        mark = next((mark for mark in marks if len({mark(other) for other in alike}) == len(alike)), marks[-1])
        found.append(item if len(alike) == 1 else replace(item, apart=mark(item)))
    return tuple(found)


def _place(item: Approach) -> tuple[int, float, float, str]:
    """In the paper's order, then by margin and weight."""
    order = list(PAPER_NAMES)
    place = order.index(item.recipe) if item.recipe in order else len(order)
    return place, item.margin or 0.0, item.alpha or 0.0, item.training.settings


def ahead(own: Approach, other: Approach, eps: str, attack: str = COMBINED) -> Estimate | None:
    """How much more often one approach stands than another at ε, on the images of both; None where there are none.

    Args:
        own: the one.
        other: the other.
        eps: L2 radius, as written.
        attack: its name; all together if none is named.
    """
    keys = sorted(own.images & other.images)
    if not keys:
        return None
    return paired_difference(own.robust(keys, eps, attack), other.robust(keys, eps, attack))

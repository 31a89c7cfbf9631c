"""What run folders say of one model: its certificates and its attacks on the same data, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from robench.records.crosscheck import Contradictions, contradictions
from robench.records.record import COMBINED, RULES, AttackRecord, CertifyRecord, Rule, rules_of
from robench.runs.facts import BoundFacts, DataFacts, ModelFacts
from robench.runs.run import AnyRun, Run
from robench.specs.epsilon import DEFAULT_EPS, ascending
from robench.statistics import curves
from robench.statistics.budget import DIRECTIONS, AttackBudget, budgets, course, n_alone, passes_of
from robench.statistics.curves import Curve
from robench.statistics.predictions import all_flags
from robench.statistics.sparing import spared_counts


class Flag(NamedTuple):
    """A diagnostic that says that an evaluation may be wrong."""

    run: str
    name: str
    message: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """A model on a data set: its certify run, its attack run, or both.

    Fields:
        name: what to call the model; different for each evaluation of a report.
        others: what further runs of the same model on the same data say; empty in each of them.
    """

    name: str
    certify: Run[CertifyRecord] | None
    attack: Run[AttackRecord] | None
    others: tuple[Evaluation, ...] = ()

    @property
    def runs(self) -> tuple[AnyRun, ...]:
        """The runs it consists of."""
        return tuple(run for run in (self.certify, self.attack) if run is not None)

    @property
    def whole(self) -> tuple[Evaluation, ...]:
        """This evaluation, and those of the further runs of its model."""
        return (self, *self.others)

    @property
    def model(self) -> ModelFacts:
        """What is known of the model."""
        return next((run.model for run in self.runs if run.facts.get("model")), ModelFacts())

    @property
    def data(self) -> DataFacts:
        """What is known of the images."""
        return next((run.data for run in self.runs if run.facts.get("data")), DataFacts())

    @property
    def bound(self) -> BoundFacts:
        """What is known of the Lipschitz bound."""
        return next((run.bound for run in self.runs if run.bound is not None), BoundFacts())

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights, as on disk."""
        return self.model_key[0]

    @property
    def model_key(self) -> tuple[str, ...]:
        """Digests of the weights and of the function, the same in all its runs."""
        return self.runs[0].model_key

    @property
    def data_name(self) -> str:
        """Name of the data set and its split."""
        return self.runs[0].data_name

    @property
    def is_image(self) -> bool:
        """Whether the inputs are images, so that ε is in pixel units."""
        return len(self.data.shape or (1, 1, 1)) == 3

    @cached_property
    def attacks(self) -> tuple[str, ...]:
        """Names of the attacks, in the order of the records."""
        records = self.attack.records if self.attack else ()
        return tuple(dict.fromkeys(name for record in records for name in record.attacks))

    @property
    def full(self) -> bool:
        """Whether every attack saw every image that was not certified."""
        return self.attack is not None and bool(self.attack.spec.get("full", False))

    @cached_property
    def budgets(self) -> Mapping[str, AttackBudget]:
        """What each attack was given, what it broke alone, and what it cost; empty without an attack run."""
        if self.attack is None or not self.attack.n:
            return {}
        return budgets(self.attack.records, self.attacked_eps, full=self.full, spent=self.attack.spent)

    @cached_property
    def alone(self) -> Mapping[str, Mapping[str, int]]:
        """How many images each attack broke alone at each ε that was asked."""
        return n_alone(self.attack.records, self.attacked_eps) if self.attack is not None else {}

    @cached_property
    def course(self) -> Sequence[Curve]:
        """The combined accuracy before any attack, after the first, after the first two, and so on."""
        return course(self.attack.records) if self.attack is not None else ()

    @cached_property
    def given(self) -> Mapping[str, npt.NDArray[np.float64]]:
        """For each attack, how near it came on each image that it was given; infinity where it found nothing."""
        records = self.attack.records if self.attack is not None else ()
        return {
            name: np.array([
                np.inf if record.attacks[name].distance is None else record.attacks[name].distance
                for record in records
                if name in record.attacks and record.given_to(name)
            ], dtype=np.float64)
            for name in self.attacks
        }  # fmt: skip

    @property
    def n_spared(self) -> int | None:
        """Pairs of image and ε that stand and were spared an attack (see `sparing`); None without an ensemble."""
        if self.attack is None or self.full or not self.attack.n:
            return None
        return sum(spared_counts(self.attack.records, self.attacked_eps).values())

    @cached_property
    def attacked_eps(self) -> tuple[str, ...]:
        """The radii that the attacks were asked about, as written, ascending."""
        if self.attack is None:
            return ()
        asked = {tuple(self.attack.spec.get("eps", ())), *(r.eps for r in self.attack.records)}
        return ascending(text for texts in sorted(asked) for text in texts)

    @cached_property
    def eps(self) -> tuple[str, ...]:
        """All radii that this evaluation was asked about; the usual ones where it was asked about none."""
        asked: list[str] = []
        if self.certify is not None:
            table = self.certify.summary.get("certified_accuracy") or {}
            asked = [text for rates in table.values() if isinstance(rates, Mapping) for text in rates]
            asked += self.certify.facts.get("eps", ())
        return ascending([*asked, *self.attacked_eps]) or DEFAULT_EPS

    @property
    def training_seconds(self) -> float | None:
        """Wall-clock seconds of the training, where a run noted them."""
        known = (run.training for item in self.whole for run in item.runs)
        return next((training.seconds for training in known if training is not None), None)

    @property
    def passes_an_image(self) -> Fraction | None:
        """Forward and backward passes of all attacks for one image, on average; None if they were not noted."""
        if self.attack is None or not self.attack.n:
            return None
        noted = [passes_of(self.attack.spent, COMBINED, way) for way in DIRECTIONS]
        known = [amount for amount in noted if amount is not None]
        return Fraction(sum(known), self.attack.n) if len(known) == len(noted) else None

    @property
    def refusal(self) -> str | None:
        """Why the Lipschitz constant has no bound, if so."""
        return self.bound.refused

    @property
    def largest(self) -> AnyRun:
        """The run that has most images."""
        return max(self.runs, key=lambda run: run.n)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules of certification with a radius for every image; the last is the tightest. Empty without any."""
        return tuple(self._certified_on_attacked)

    def certified(self, rule: Rule | None = None) -> Curve | None:
        """Certified accuracy on all certified images; of the attack records where there is no certify run.

        By one rule, or by the tightest.
        """
        return _by(rule, self._certified)

    def certified_on_attacked(self, rule: Rule | None = None) -> Curve | None:
        """Certified accuracy on the attacked images only, so that it can be set against the attacks on them."""
        return _by(rule, self._certified_on_attacked)

    def robust(self, attack: str = COMBINED) -> Curve | None:
        """Accuracy under all attacks together, or under one of them that saw every image that is not certified.

        None where there is no such attack, and for single attacks of an ensemble, which were given what others left.
        """
        return self._robust.get(attack)

    @cached_property
    def flags(self) -> tuple[Flag, ...]:
        """The diagnostics of all runs of the model."""
        return tuple(flag for item in self.whole for run in item.runs for flag in _flags(run))

    @cached_property
    def contradictions(self) -> Contradictions:
        """Images with an adversarial nearer than a certified radius: every attack run against every certify run.

        Only runs of one arithmetic are held against each other.

        Raises:
            RunError: two runs are about different inputs.
        """
        certifies = {item.certify.folder: item.certify for item in self.whole if item.certify is not None}
        attacks = {item.attack.folder: item.attack for item in self.whole if item.attack is not None}
        found = [
            problem
            for attack in attacks.values()
            for records in [run.records for run in certifies.values() if run.arithmetic == attack.arithmetic] or [()]
            for problem in contradictions(records, attack.records, _rule_of(attack))
        ]
        return Contradictions(dict.fromkeys(found))

    @property
    def certified_by(self) -> AnyRun | None:
        """The run whose images `certified` speaks of, in the order of its records."""
        return self.certify if self.certify is not None and self.certify.n and self.refusal is None else self.attack

    @cached_property
    def _certified(self) -> Mapping[Rule, Curve]:
        if self.certify is None or self.certified_by is not self.certify:
            return self._certified_by_attack_run
        records = self.certify.records
        return {rule: curves.certified(records, rule) for rule in rules_of(records)}

    @cached_property
    def _certified_on_attacked(self) -> Mapping[Rule, Curve]:
        if self.attack is None or not self.attack.n:
            return self._certified
        known = {
            (record.index, record.input_sha256): record for record in (self.certify.records if self.certify else ())
        }
        matched = [known.get((record.index, record.input_sha256)) for record in self.attack.records]
        records = [record for record in matched if record is not None]
        if self.refusal is not None or len(records) < len(matched):
            return self._certified_by_attack_run
        return {rule: curves.certified(records, rule) for rule in rules_of(records)}

    @cached_property
    def _certified_by_attack_run(self) -> Mapping[Rule, Curve]:
        if self.attack is None or not self.attack.n or self.refusal is not None:
            return {}
        curve = curves.certified_when_attacked(self.attack.records)
        return {_rule_of(self.attack): curve} if self.attack.bound is not None or curve.thresholds.any() else {}

    @cached_property
    def _robust(self) -> Mapping[str, Curve]:
        if self.attack is None or not self.attack.n:
            return {}
        alone = self.attacks if self.full else ()
        return {name: curves.robust(self.attack.records, name) for name in (COMBINED, *alone)}


def _by(rule: Rule | None, known: Mapping[Rule, Curve]) -> Curve | None:
    return known.get(list(known)[-1] if rule is None and known else rule)  # type: ignore[arg-type]


def _rule_of(run: Run[AttackRecord]) -> Rule:
    """The rule of the certified radii in attack records: the largest of those that the run had."""
    return max((rule for rule in RULES if rule in run.certificate.rules), key=RULES.index, default="pairwise")


def _flags(run: AnyRun) -> list[Flag]:
    """What the predictions raise, and the diagnostics of the manifest and the summary, each once."""
    raised = [*(run.facts.get("flags") or ()), *(run.summary.get("flags") or ())]
    return [Flag(run.name, *flag) for flag in all_flags(run.records, raised)]

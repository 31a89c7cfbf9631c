"""The records: one image, one line; what certify and attack write and everything else reads. No torch here.

Radii and distances are L2, float64, in the units of the input the user sees (pixels in [0, 1] for images): radii
rounded down, distances rounded up. JSON has no NaN or infinity, so what does not exist is `null` beside a status.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from robench.errors import RunError
from robench.records.shapes import ANY, fitting, misfit

SCHEMA_VERSION = 2
"""Of run folders and of all that `--json` prints: docs/json.md says what changed."""
READABLE_VERSIONS = (1, 2)
"""Run folders of version 1 hold the same records; only keys of their summaries were others."""

Rule = Literal["paper", "pairwise", "scaled", "local"]
RULES: tuple[Rule, ...] = ("paper", "pairwise", "scaled", "local")
"""Rules of certification, each never below those before it. Every image has the first two; a record has a radius for
each further rule that was computed. A new rule is a name here and a field `radius_NAME` of `CertifyRecord`."""
COMBINED = "combined"
"""Stands for all attacks together wherever an attack is named."""

CLASSES = {"index": int, "input_sha256": str, "label": int, "predicted": int}
CERTIFY_SHAPE = {
    **CLASSES,
    "runner_up": int,
    "margin": float,
    **{f"radius_{rule}": float for rule in RULES},
    "status": str,
}
ATTACK_SHAPE = {
    **CLASSES,
    "certified_radius": float,
    "attacks": {ANY: {"status": str, "distance": (float, None), "predicted": (int, None)}},
    "distance": (float, None),
    "attack": (str, None),
    "eps": [str],
}
FITS_CERTIFY, FITS_ATTACK = fitting(CERTIFY_SHAPE), fitting(ATTACK_SHAPE)
OPTIONAL = tuple(f"radius_{rule}" for rule in RULES[2:])
"""Keys that a record lacks where the rule was not computed."""
LENGTHS = ("index", "label", "predicted", *(f"radius_{rule}" for rule in RULES), "certified_radius", "distance")
"""What is never below 0."""


class Status(str, Enum):
    """Outcome of the certificate of one image."""

    CERTIFIED = "certified"
    """Correctly classified, with a radius above 0."""
    NOT_CERTIFIED = "not_certified"
    """Correctly classified, but no radius above 0 could be proven."""
    MISCLASSIFIED = "misclassified"
    """Wrong without any attack: broken at every ε, 0 included."""


class AttackStatus(str, Enum):
    """What became of one attack on one image."""

    FOUND = "found"
    """A verified adversarial exists at `distance`."""
    NOT_FOUND = "not_found"
    """The attack ran and found nothing that survived verification."""
    NOT_RUN = "not_run"
    """The attack ensemble had no question left for this attack (image certified, misclassified or already broken)."""


@dataclass(frozen=True, kw_only=True)
class CertifyRecord:
    """The certificate of one image.

    Fields:
        index: position of the image in its split.
        input_sha256: SHA-256 of the input as float32 little-endian bytes.
        label: true class, 0..q-1.
        predicted: predicted class (one logit: 1 iff f(x) > 0).
        runner_up: the class that limits the pairwise radius (one logit: the other class).
        margin: lower bound of f_predicted - f_runner_up (one logit: |f|) after the forward error, logit units.
        radius_paper: certified radius by the paper's rule (|f|/L; half the top-2 gap over L).
        radius_pairwise: certified radius by min_j (f_i - f_j) / L_ij.
        radius_scaled: by smaller constants L_ij, which exist for some networks; None where they were not computed.
        radius_local: by what holds in the ball of this image alone; None where it was not computed.
        status: outcome.
    """

    index: int
    input_sha256: str
    label: int
    predicted: int
    runner_up: int
    margin: float
    radius_paper: float
    radius_pairwise: float
    radius_scaled: float | None = None
    radius_local: float | None = None
    status: Status

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that were computed."""
        if self.radius_scaled is None and self.radius_local is None:  # nearly all records, and each is asked often
            return RULES[:2]
        return tuple(rule for rule in RULES if getattr(self, f"radius_{rule}") is not None)

    @property
    def largest(self) -> Rule:
        """The rule that claims most; of two that claim the same the simpler, and `pairwise` before `paper`."""
        return max(self.rules, key=lambda rule: (self.claimed(rule), rule == "pairwise"))

    def claimed(self, rule: Rule) -> float:
        """The radius by one rule within which the predicted class is proven, right or wrong; 0.0 if not computed."""
        return getattr(self, f"radius_{rule}") or 0.0

    def radius(self, rule: Rule) -> float:
        """The certified radius of a correctly classified image by one rule; 0.0 where it is misclassified."""
        return 0.0 if self.status is Status.MISCLASSIFIED else self.claimed(rule)

    @property
    def certified_radius(self) -> float:
        """The largest certified radius by any rule; 0.0 where the image is misclassified."""
        return self.radius(self.largest)

    def certified_to(self, rule: Rule, epsilon: float) -> bool:
        """Correct, and proven by one rule to stay so for every change smaller than or equal to `epsilon`."""
        return self.radius(rule) > epsilon


def rules_of(records: Iterable[CertifyRecord]) -> tuple[Rule, ...]:
    """The rules by which some images have a radius, in their order: `paper` and `pairwise`, and what was computed."""
    found = {*RULES[:2], *(rule for record in records for rule in record.rules)}
    return tuple(rule for rule in RULES if rule in found)


class AttackOutcome(NamedTuple):
    """What one attack did to one image.

    Fields:
        status: outcome.
        distance: smallest verified L2 distance of an adversarial, rounded up; None unless found.
        predicted: class of that adversarial; None unless found.
    """

    status: AttackStatus
    distance: float | None
    predicted: int | None


@dataclass(frozen=True, kw_only=True)
class AttackRecord:
    """What all attacks together did to one image.

    Fields:
        index, input_sha256, label, predicted: as in `CertifyRecord`.
        certified_radius: largest certified radius by any rule, on the same weights; 0.0 where there is none.
        attacks: outcome by attack name.
        distance: smallest verified distance over all attacks; 0.0 if misclassified, None if nothing was found.
        attack: the attack that found it; None if there is none.
        eps: the radii asked, as written; "not found" speaks of these only.
    """

    index: int
    input_sha256: str
    label: int
    predicted: int
    certified_radius: float
    attacks: Mapping[str, AttackOutcome]
    distance: float | None
    attack: str | None
    eps: tuple[str, ...]

    @property
    def correct(self) -> bool:
        """Whether the clean image is classified correctly."""
        return self.predicted == self.label

    def distance_of(self, attack: str) -> float | None:
        """Distance of the adversarial that `attack` found, or all together (`COMBINED`)."""
        return self.distance if attack == COMBINED else self.attacks[attack].distance

    def robust_to(self, attack: str, epsilon: float) -> bool:
        """Correct, and `attack` itself found no adversarial within `epsilon`; `COMBINED`: no attack did."""
        distance = self.distance_of(attack)
        return self.correct and (distance is None or distance > epsilon)

    def robust_at(self, epsilon: float) -> bool:
        """Correct, and no attack found an adversarial within `epsilon` (the combined rule)."""
        return self.robust_to(COMBINED, epsilon)

    def given_to(self, attack: str) -> bool:
        """Whether `attack` was run on the image."""
        return self.attacks[attack].status is not AttackStatus.NOT_RUN

    def broken_by(self, attack: str, epsilon: float) -> bool:
        """Whether `attack` itself found an adversarial within `epsilon`."""
        distance = self.attacks[attack].distance
        return distance is not None and distance <= epsilon

    def certified_at(self, epsilon: float) -> bool:
        """Correct, and proven to stay so for every change smaller than or equal to `epsilon`."""
        return self.correct and self.certified_radius > epsilon


def to_line(record: CertifyRecord | AttackRecord) -> str:
    """One JSON line without the newline; keys in the order of the fields, so equal records give equal bytes."""
    data = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    data = {name: value for name, value in data.items() if value is not None or name not in OPTIONAL}
    if isinstance(record, AttackRecord):
        data["attacks"] = {name: outcome._asdict() for name, outcome in record.attacks.items()}
    return json.dumps(data, allow_nan=False, separators=(",", ":"))


def certify_record(data: Mapping[str, Any]) -> CertifyRecord:
    """A certify record from its JSON object.

    Raises:
        RunError: fields are missing, unknown or of the wrong kind.
    """
    _require(data, CERTIFY_SHAPE, FITS_CERTIFY)
    try:
        record = CertifyRecord(**{**data, "status": Status(data["status"])})
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(error) from None
    if (record.status is Status.MISCLASSIFIED) != (record.predicted != record.label):
        raise _broken(f"image {record.index} of class {record.label} is predicted {record.predicted}, {record.status}")
    for low, high in pairwise(record.rules):
        if record.claimed(low) > record.claimed(high):
            raise _broken(f"image {record.index} has a larger radius by `{low}` than by `{high}`, which cannot be")
    return record


def attack_record(data: Mapping[str, Any]) -> AttackRecord:
    """An attack record from its JSON object.

    Raises:
        RunError: fields are missing, unknown or of the wrong kind.
    """
    _require(data, ATTACK_SHAPE, FITS_ATTACK)
    try:
        attacks = {
            name: AttackOutcome(AttackStatus(item["status"]), item["distance"], item["predicted"])
            for name, item in data["attacks"].items()
        }
        record = AttackRecord(**{**data, "attacks": attacks, "eps": tuple(data["eps"])})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _broken(error) from None
    found = [outcome.distance for outcome in attacks.values() if outcome.distance is not None]
    nearest = min(found, default=None) if record.correct else 0.0
    if record.distance != nearest:
        raise _broken(f"image {record.index} is at distance {record.distance}, but its attacks at {nearest}")
    return record


def _require(data: Any, shape: Mapping[str, Any], fits: Callable[[Any], bool]) -> None:
    problem = None if fits(data) else misfit(data, shape, "record")
    if problem is None:
        for name in LENGTHS:
            if (data.get(name) or 0.0) < 0:
                raise _broken(f"`{name}` is {data[name]!r}, below 0")
    else:
        raise _broken(problem)


def _broken(error: Exception | str) -> RunError:
    hint = "move the run elsewhere and make it again"
    return RunError(f"a record is not of schema version {SCHEMA_VERSION}: {error}", hint=hint)

"""Certificates against attacks: an adversarial nearer than the certified radius of its image is a contradiction.

Works on records alone; no torch here. One of the two is then wrong: the constant, the rounding, the weights that were
certified, or the record of the attack, and the stored adversarial says which.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from robench.errors import DataError, RunError
from robench.records.certificates import Identity, Proven, check_same_model, proofs_of
from robench.records.record import AttackRecord, CertifyRecord, Rule


@dataclass(frozen=True)
class Contradiction:
    """An adversarial within a certified radius.

    Fields:
        index: position of the image in its split.
        radius: the certified radius, by the rule that claims more.
        distance: of the adversarial; 0.0 if the image itself has another class than its certificate says.
        attack: what found it; None if no attack was needed.
        rule: of the certificate, such as `pairwise`.
    """

    index: int
    radius: float
    distance: float
    attack: str | None
    rule: str

    @property
    def sentence(self) -> str:
        """What contradicts what."""
        found = "has another class" if self.attack is None else f"is fooled by {self.attack} at {self.distance!r}"
        return f"image {self.index} {found}, within its certified radius {self.radius!r} ({self.rule} rule)"


class Contradictions(tuple[Contradiction, ...]):
    """Adversarials within certified radii, in the order of the images; empty, and so false, where there are none."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(item.sentence for item in self) or "no contradictions"


class Attacked(Protocol):
    """What is needed of the result of an attack."""

    @property
    def records(self) -> Sequence[AttackRecord]:
        """One for each image."""

    @property
    def fingerprint(self) -> str:
        """Of the model that was attacked."""


def crosscheck(certificates: Proven, found: Attacked | Sequence[AttackRecord]) -> Contradictions:
    """Hold attacks against certificates of the same images, in the same order.

    A sound certificate leaves no adversarial within its radius. If there is one, the certificate or the attack is
    wrong; the result says which images, and what was found at which distance.

    Args:
        certificates: what `certify` gives, records, or radii (N,) within which the predicted class is proven.
        found: what `attack` gives, or records.

    Raises:
        DataError: the two are of other images or labels, or of another number of images; radii are negative or NaN; or
            `found` is no result of an attack.
        ModelError: the two are of different models.

    Examples:
        A radius of 1 is claimed at a hyperplane that is 0.25 away:

        >>> import torch, robench
        >>> model = torch.nn.Linear(2, 1)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0]])), model.bias.data.fill_(-0.5)
        >>> x = torch.tensor([[0.75, 0.5]])
        >>> found = robench.attack(model.eval(), x, [1], eps=0.5, attacks="deepfool")
        >>> bool(robench.crosscheck(robench.certify(model, x), found))
        False
        >>> wrong = robench.crosscheck([1.0], found)
        >>> len(wrong), wrong[0].index, wrong[0].radius, round(wrong[0].distance, 2), wrong[0].attack
        (1, 0, 1.0, 0.25, 'deepfool')
    """
    records = found if isinstance(found, Sequence) else getattr(found, "records", None)
    if not isinstance(records, Sequence) or not all(isinstance(record, AttackRecord) for record in records):
        raise DataError(
            f"what was found is of type {type(found).__name__}, no result of an attack",
            hint="give what `attack` returns, or its records, after the certificates",
        )
    if not isinstance(found, Sequence):
        check_same_model(certificates, found.fingerprint)
    proofs = proofs_of([Identity(record.index, record.input_sha256, record.label) for record in records], certificates)
    judged = [
        dataclasses.replace(record, certified_radius=radius)
        for record, radius in zip(records, proofs.radius.tolist(), strict=True)
    ]
    return contradictions(proofs.records, judged)


def contradictions(
    certify_records: Iterable[CertifyRecord], attack_records: Iterable[AttackRecord], rule: Rule = "pairwise"
) -> Contradictions:
    """All contradictions, in the order of the attack records; an image is judged by its largest radius of any rule.

    A certificate says that no change smaller than its radius flips the class; distances are rounded up and radii down,
    so a distance below the radius admits no excuse.

    Args:
        certify_records: certificates; images without one are judged by the radius in their attack record.
        attack_records: attacks on the same weights and the same images, told by their indices.
        rule: of the radii in the attack records.

    Raises:
        RunError: the two are about different inputs or labels.
    """
    certificates = {record.index: record for record in certify_records}
    found = (_contradiction(certificates.get(record.index), record, rule) for record in attack_records)
    return Contradictions(item for item in found if item is not None)


def _contradiction(certificate: CertifyRecord | None, attack: AttackRecord, rule: Rule) -> Contradiction | None:
    radius = attack.certified_radius
    distance = attack.distance if attack.correct else None
    if certificate is not None:
        _check_same_image(certificate, attack)
        rule = certificate.largest
        radius = max(radius, certificate.claimed(rule))
        if certificate.predicted != attack.predicted:
            distance = 0.0
    if distance is None or not distance < radius:
        return None
    return Contradiction(attack.index, radius, distance, attack.attack if distance else None, rule)


def _check_same_image(certificate: CertifyRecord, attack: AttackRecord) -> None:
    if (certificate.input_sha256, certificate.label) != (attack.input_sha256, attack.label):
        raise RunError(
            f"image {attack.index} is not the same in the certificates and in the attacks",
            hint="compare runs on the same data set, split and subset",
        )

"""Certificates against attacks: an adversarial nearer than the certified radius of its image is a contradiction.

Works on records alone; no torch here. One of the two is then wrong: the constant, the rounding, the weights that were
certified, or the record of the attack, and the stored adversarial says which.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from robench.errors import RunError
from robench.records.record import AttackRecord, CertifyRecord


@dataclass(frozen=True)
class Contradiction:
    """An adversarial within a certified radius.

    Fields:
        index: position of the image in its split.
        radius: the certified radius, by the rule that claims more.
        distance: of the adversarial; 0.0 if the image itself has another class than its certificate says.
        attack: what found it; None if no attack was needed.
        rule: `paper` or `pairwise`.
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


def contradictions(
    certify_records: Iterable[CertifyRecord], attack_records: Iterable[AttackRecord]
) -> list[Contradiction]:
    """All contradictions, in the order of the attack records.

    A certificate says that no change smaller than its radius flips the class; distances are rounded up and radii down,
    so a distance below the radius admits no excuse.

    Args:
        certify_records: certificates; images without one are judged by the radius in their attack record.
        attack_records: attacks on the same weights and the same images.

    Raises:
        RunError: the two are about different inputs or labels.
    """
    certificates = {record.index: record for record in certify_records}
    found = (_contradiction(certificates.get(record.index), record) for record in attack_records)
    return [item for item in found if item is not None]


def _contradiction(certificate: CertifyRecord | None, attack: AttackRecord) -> Contradiction | None:
    radii = {"pairwise": attack.certified_radius}
    distance = attack.distance if attack.correct else None
    if certificate is not None:
        _check_same_image(certificate, attack)
        radii["pairwise"] = max(attack.certified_radius, certificate.radius_pairwise)
        radii["paper"] = certificate.radius_paper
        if certificate.predicted != attack.predicted:
            distance = 0.0
    rule = max(radii, key=lambda name: radii[name])
    if distance is None or not distance < radii[rule]:
        return None
    return Contradiction(attack.index, radii[rule], distance, attack.attack if distance else None, rule)


def _check_same_image(certificate: CertifyRecord, attack: AttackRecord) -> None:
    if (certificate.input_sha256, certificate.label) != (attack.input_sha256, attack.label):
        raise RunError(
            f"image {attack.index} is not the same in the certificates and in the attacks",
            hint="compare runs on the same data set, split and subset",
        )

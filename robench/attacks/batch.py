"""One batch of images on its way through the ensemble: what is known of each image, and what is still open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from robench.arrays import Array, Flags, Integers, Singles
from robench.data.dataset import input_digest
from robench.numerics import distance_upper
from robench.records.record import AttackOutcome, AttackRecord, AttackStatus
from robench.statistics.sparing import spared

SPOT_CHECK = 20
"""Of the images certified at every ε, about one in so many is attacked all the same, to check the certificates."""


@dataclass(eq=False)
class AttackedBatch:
    """Images, their certified radii, and the nearest verified adversarial of each so far.

    Fields:
        index: positions in the split.
        x: inputs.
        label: true classes.
        predicted: classes found without attack.
        radius: certified radii, 0 where there is none.
        eps: the radii asked, as written, ascending, and their values.
        attacks: names, in the order of the ensemble.
        sha256: of each input.
        correct: whether each image is classified correctly.
        distance: of the nearest adversarial; 0 if misclassified, infinite where none is known.
        best: the attack that found it, or None.
        points: row to the nearest adversarial.
        by_attack: attack and row to the adversarial that the attack found.
        outcomes: attack to what it did to each image.
    """

    index: Int64[Integers, " n"]
    x: Float32[Singles, "n ..."]
    label: Int64[Integers, " n"]
    predicted: Int64[Integers, " n"]
    radius: Float64[Array, " n"]
    eps: Mapping[str, float]
    attacks: Sequence[str]
    sha256: list[str] = field(init=False)
    correct: Bool[Flags, " n"] = field(init=False)
    distance: Float64[Array, " n"] = field(init=False)
    best: list[str | None] = field(init=False)
    points: dict[int, Singles] = field(init=False, default_factory=dict)
    by_attack: dict[str, dict[int, Singles]] = field(init=False)
    outcomes: dict[str, list[AttackOutcome]] = field(init=False)

    def __post_init__(self) -> None:
        """Nothing is attacked yet."""
        self.sha256 = [input_digest(row) for row in self.x]
        self.correct = self.predicted == self.label
        self.distance = np.where(self.correct, np.inf, 0.0)
        self.best = [None] * len(self)
        self.by_attack = {name: {} for name in self.attacks}
        self.outcomes = {name: [AttackOutcome(AttackStatus.NOT_RUN, None, None)] * len(self) for name in self.attacks}

    def __len__(self) -> int:
        return len(self.index)

    @property
    def values(self) -> Float64[Array, " k"]:
        """The radii asked."""
        return np.array(list(self.eps.values()))

    def uncertified(self) -> Bool[Flags, "n k"]:
        """Pairs of image and ε that no certificate answers; none for misclassified images."""
        return np.asarray(self.correct[:, None] & (self.radius[:, None] <= self.values[None, :]))

    def open(self) -> Bool[Flags, "n k"]:
        """Pairs that neither a certificate nor an adversarial answers."""
        return self.uncertified() & (self.distance[:, None] > self.values[None, :])

    def promising(self) -> Bool[Flags, "n k"]:
        """Open pairs, less those for which little can be gained and more has to be (`sparing`)."""
        return np.asarray(self.open() & ~spared(self.distance, self.radius, self.values))

    def spot_checked(self) -> Bool[Flags, " n"]:
        """Images certified at every ε that are attacked all the same; drawn by the hash of the input alone."""
        drawn = np.array([int(digest[:8], 16) % SPOT_CHECK == 0 for digest in self.sha256], dtype=bool)
        return np.asarray(self.correct & ~self.uncertified().any(axis=1) & drawn)

    def ran(self, name: str, row: int) -> None:
        """Note that an attack ran on an image and has found nothing so far."""
        self.outcomes[name][row] = AttackOutcome(AttackStatus.NOT_FOUND, None, None)

    def found(self, name: str, row: int, point: Singles, predicted: int) -> None:
        """Note a verified adversarial of an image.

        Args:
            name: the attack that found it.
            row: of the image.
            point: the adversarial.
            predicted: its class.
        """
        distance = distance_upper(self.x[row], point)
        self.outcomes[name][row] = AttackOutcome(AttackStatus.FOUND, distance, predicted)
        self.by_attack[name][row] = point
        if distance < self.distance[row]:
            self.distance[row], self.best[row], self.points[row] = distance, name, point

    def adversarials(self) -> dict[int, Singles]:
        """The nearest adversarial of each image that has one, by position in the split."""
        return {int(self.index[row]): point for row, point in self.points.items()}

    def records(self) -> list[AttackRecord]:
        """The records, in the order of the batch."""
        return [
            AttackRecord(
                index=int(self.index[row]),
                input_sha256=self.sha256[row],
                label=int(self.label[row]),
                predicted=int(self.predicted[row]),
                certified_radius=float(self.radius[row]),
                attacks={name: outcomes[row] for name, outcomes in self.outcomes.items()},
                distance=float(self.distance[row]) if np.isfinite(self.distance[row]) else None,
                attack=self.best[row],
                eps=tuple(self.eps),
            )
            for row in range(len(self))
        ]

"""One chunk of images on its way through the cascade: what is known of each, and what is still open."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from robench.numerics import distance_upper
from robench.records.record import AttackOutcome, AttackRecord, AttackStatus, CertifyRecord, Status
from robench.statistics.sparing import spared

Floats = npt.NDArray[np.float64]

AUDITED = 20
"""Of the images certified at every ε, about one in so many is attacked all the same, to check the certificates."""


class Chunk:
    """Images of a chunk, their certificates, and the smallest verified distance so far.

    Args:
        index: positions in the split (n,).
        x: inputs (n, *shape) in float32.
        label: true classes (n,).
        predicted: classes found without attack (n,).
        radii: certified ones, by index; images without one have radius 0.
        eps: the radii asked, as written, ascending, and their values.
        attacks: names, in the order of the cascade.
    """

    def __init__(
        self,
        index: npt.NDArray[np.int64],
        x: npt.NDArray[np.float32],
        label: npt.NDArray[np.int64],
        predicted: npt.NDArray[np.int64],
        radii: Mapping[int, float],
        eps: Mapping[str, float],
        attacks: Sequence[str],
    ) -> None:
        self.index, self.x, self.label, self.predicted = index, x, label, predicted
        self.eps = dict(eps)
        self.values = np.array(list(self.eps.values()))
        self.sha256 = [hashlib.sha256(np.ascontiguousarray(row, dtype="<f4").tobytes()).hexdigest() for row in x]
        self.radius = np.array([radii.get(i, 0.0) for i in index.tolist()])
        self.correct = predicted == label
        self.distance = np.where(self.correct, np.inf, 0.0)
        self.best: list[str | None] = [None] * len(index)
        self.points: dict[int, npt.NDArray[np.float32]] = {}
        self.by_attack: dict[str, dict[int, npt.NDArray[np.float32]]] = {name: {} for name in attacks}
        self.outcomes = {name: [AttackOutcome(AttackStatus.NOT_RUN, None, None)] * len(index) for name in attacks}

    def uncertified(self) -> npt.NDArray[np.bool_]:
        """Pairs (n, K) of image and ε that no certificate answers; none for misclassified images."""
        return np.asarray(self.correct[:, None] & (self.radius[:, None] <= self.values[None, :]))

    def open(self) -> npt.NDArray[np.bool_]:
        """Pairs (n, K) that neither a certificate nor an adversarial answers."""
        return self.uncertified() & (self.distance[:, None] > self.values[None, :])

    def promising(self) -> npt.NDArray[np.bool_]:
        """Open pairs (n, K), less those for which little can be gained and more has to be (`sparing`)."""
        return np.asarray(self.open() & ~spared(self.distance, self.radius, self.values))

    def audited(self) -> npt.NDArray[np.bool_]:
        """Images certified at every ε that are attacked all the same; drawn by the hash of the input alone."""
        drawn = np.array([int(digest[:8], 16) % AUDITED == 0 for digest in self.sha256], dtype=bool)
        return np.asarray(self.correct & ~self.uncertified().any(axis=1) & drawn)

    def ran(self, name: str, row: int) -> None:
        """Note that an attack ran on an image and has found nothing so far."""
        self.outcomes[name][row] = AttackOutcome(AttackStatus.NOT_FOUND, None, None)

    def found(self, name: str, row: int, point: npt.NDArray[np.float32], predicted: int) -> None:
        """Note a verified adversarial of an image."""
        distance = distance_upper(self.x[row], point)
        self.outcomes[name][row] = AttackOutcome(AttackStatus.FOUND, distance, predicted)
        self.by_attack[name][row] = point
        if distance < self.distance[row]:
            self.distance[row], self.best[row], self.points[row] = distance, name, point

    def records(self) -> list[AttackRecord]:
        """The records, in the order of the chunk."""
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
            for row in range(len(self.index))
        ]


def certified_radius(certificate: CertifyRecord) -> float:
    """Radius of the true class; a certificate of a wrong prediction speaks of that one, and is none here."""
    return certificate.radius_pairwise if certificate.status is Status.CERTIFIED else 0.0

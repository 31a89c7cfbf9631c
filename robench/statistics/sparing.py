"""The rule by which an attack ensemble spares its later attacks, and how often it did; with `--full` it is off.

No attack can go below the certified radius. So the adversarial at hand can come nearer by no more than what is between
its distance and that radius, and an attack is not asked about an ε for which it would have to gain more than 40 % of
that. Without a certificate nothing is spared. The rule is a heuristic: a pair of image and ε that was spared may stand
although an attack would have broken it. How often it was used follows from the records, so it is the same however a run
was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64

from robench.arrays import Array, Flags
from robench.records.record import AttackRecord
from robench.specs.epsilon import epsilon_value

SHARE = 0.4
"""An attack is spared where it would have to gain more than this share of what is between distance and certificate."""


def spared(
    distance: Float64[Array, " n"], radius: Float64[Array, " n"], eps: Float64[Array, " k"]
) -> Bool[Flags, "n k"]:
    """Whether the rule spares the next attack, for each pair of image and ε.

    Args:
        distance: of the nearest adversarial so far; infinite where there is none.
        radius: certified.
        eps: radii.
    """
    known = np.isfinite(distance) & (radius > 0)
    reach = np.where(known, (1.0 - SHARE) * np.where(known, distance, 0.0) + SHARE * radius, 0.0)
    return np.asarray(eps[None, :] < reach[:, None])


def spared_counts(records: Sequence[AttackRecord], eps: Sequence[str]) -> dict[str, int]:
    """How many images of an ensemble stand at each ε although the rule kept at least one attack from them there.

    Replays the ensemble: before each attack the distance is that of the nearest adversarial of the attacks before it.

    Args:
        records: of an ensemble, each with the attacks in their order.
        eps: radii as written.
    """
    values = np.array([epsilon_value(text) for text in eps])
    radius = np.array([record.certified_radius for record in records])
    correct = np.array([record.correct for record in records], dtype=bool)
    last = np.array([np.inf if record.distance is None else record.distance for record in records])
    stands = correct[:, None] & (radius[:, None] <= values) & (last[:, None] > values)
    distance = np.full(len(records), np.inf)
    used = np.zeros_like(stands)
    for outcomes in zip(*(record.attacks.values() for record in records), strict=True):
        used |= spared(distance, radius, values)
        found = [np.inf if outcome.distance is None else outcome.distance for outcome in outcomes]
        distance = np.minimum(distance, found)
    return dict(zip(eps, (used & stands).sum(axis=0).tolist(), strict=True))

"""The rule by which a cascade spares its later attacks, and how often it did; off where every attack sees every image.

An attack is not asked about an image at an ε where little can be gained and more has to be: the adversarial at hand is
within 25 % of the certified radius, below which no attack can go, and more than 2 % above the ε. The rule is a
heuristic: a pair of image and ε that was spared may stand although an attack would have broken it. How often it was
used follows from the records, so it is the same however a run was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from robench.records import AttackRecord
from robench.specs.epsilon import epsilon_value

CLOSE, CLEAR = 0.25, 0.02
"""An attack is spared where the distance is this close to the certified radius, and this clear of the ε."""

Floats = npt.NDArray[np.float64]


def spared(distance: Floats, radius: Floats, eps: Floats) -> npt.NDArray[np.bool_]:
    """Whether the rule spares the next attack, for each pair of image and ε.

    Args:
        distance: (n,) of the nearest adversarial so far; infinite where there is none.
        radius: (n,) certified.
        eps: (K,) radii.

    Returns:
        (n, K).
    """
    close = np.isfinite(distance) & (distance <= (1.0 + CLOSE) * radius)
    clear = distance[:, None] > (1.0 + CLEAR) * eps[None, :]
    return np.asarray(close[:, None] & clear)


def spared_counts(records: Sequence[AttackRecord], eps: Sequence[str]) -> dict[str, int]:
    """How many images of a cascade stand at each ε although the rule kept at least one attack from them there.

    Replays the cascade: before each attack the distance is that of the nearest adversarial of the attacks before it.

    Args:
        records: of a cascade, each with the attacks in their order.
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

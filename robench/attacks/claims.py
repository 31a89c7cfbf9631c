"""What attacks claim, and the order in which an attack of a fixed ε is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from robench.attacks.classifier import Classifier
from robench.attacks.rows import State, count, rows_of, tiles


class Claims(NamedTuple):
    """What an attack says it has found; nothing of it is verified yet.

    Fields:
        points: (N, *shape), adversarial where `found`.
        found: (N,).
    """

    points: Tensor
    found: Tensor


class Attack(Protocol):
    """An attack of a suite."""

    def run(self, classifier: Classifier, jobs: State) -> Claims:
        """Attack all rows of `jobs` (see `rows.State`), each by itself."""


def in_tiles(classifier: Classifier, jobs: State, attempt: Callable[[State], Claims]) -> Claims:
    """An attempt on all rows, in batches of fixed size: the last one is padded with copies of its first row."""
    parts = []
    for tile, real in tiles(classifier, jobs):
        with classifier.passes.at_most(real):
            claims = attempt(tile)
        parts.append(Claims(claims.points[:real], claims.found[:real]))
    return joined(parts)


def ascending(jobs: State, restarts: int, attempt: Callable[[State, float, int], Claims]) -> Claims:
    """Attempts at the radii that each image asks, in ascending order, up to its first success.

    Args:
        jobs: the rows.
        restarts: attempts at each ε.
        attempt: rows, ε and number of the restart to what was found.
    """
    points, found = jobs["x"].clone(), torch.zeros(count(jobs), dtype=torch.bool, device=jobs["x"].device)
    for epsilon in _radii(jobs):
        for restart in range(restarts):
            rows = ((jobs["eps"] == epsilon).any(dim=1) & ~found).nonzero().squeeze(1)
            if not len(rows):
                break
            points[rows], found[rows] = attempt(rows_of(jobs, rows), epsilon, restart)
    return Claims(points, found)


def joined(parts: Sequence[Claims]) -> Claims:
    """The rows of several parts, in order."""
    return Claims(torch.cat([part.points for part in parts]), torch.cat([part.found for part in parts]))


def _radii(jobs: State) -> list[float]:
    values = jobs["eps"].flatten()
    return torch.unique(values[torch.isfinite(values)]).tolist()  # type: ignore[no-any-return]

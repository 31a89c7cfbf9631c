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


def by_radius(jobs: State, restarts: int, attempt: Callable[[State, float, int], Claims]) -> Claims:
    """Attempts at the radii that each image asks, one after the other, each with restarts up to a success.

    An image of which nothing is known is asked in ascending order, up to its first success. Where an adversarial is
    known (`distance`), the nearest radius below it comes first, and smaller ones follow as long as they succeed: an
    attack that fails within ε is not asked to succeed within less.

    Args:
        jobs: the rows.
        restarts: attempts at each ε.
        attempt: rows, ε and number of the restart to what was found.
    """
    points, found = jobs["x"].clone(), torch.zeros(count(jobs), dtype=torch.bool, device=jobs["x"].device)
    known = torch.isfinite(jobs["distance"])
    ended = torch.zeros_like(found)

    def at(epsilon: float, rows: Tensor) -> Tensor:
        """Attempts on some rows; returns which of them (N,) succeeded."""
        succeeded = torch.zeros_like(found)
        for restart in range(restarts):
            left = (rows & ~succeeded).nonzero().squeeze(1)
            if not len(left):
                break
            claims = attempt(rows_of(jobs, left), epsilon, restart)
            hits = left[claims.found]
            points[hits], succeeded[hits] = claims.points[claims.found], True
        return succeeded

    radii = _radii(jobs)
    for epsilon in radii:
        found |= at(epsilon, (jobs["eps"] == epsilon).any(dim=1) & ~known & ~found)
    for epsilon in reversed(radii):
        rows = (jobs["eps"] == epsilon).any(dim=1) & known & ~ended
        succeeded = at(epsilon, rows)
        found |= succeeded
        ended |= rows & ~succeeded
    return Claims(points, found)


def joined(parts: Sequence[Claims]) -> Claims:
    """The rows of several parts, in order."""
    return Claims(torch.cat([part.points for part in parts]), torch.cat([part.found for part in parts]))


def _radii(jobs: State) -> list[float]:
    values = jobs["eps"].flatten()
    return torch.unique(values[torch.isfinite(values)]).tolist()  # type: ignore[no-any-return]

"""What attacks claim, and the order of the radii for an attack of a fixed ε."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from robench.attacks.classifier import Classifier
from robench.attacks.examples import Claims, Examples, in_tiles


class Attack(Protocol):
    """An attack of an ensemble."""

    def run(self, classifier: Classifier, examples: Examples) -> Claims:
        """Attack all images, each by itself."""


class FixedEpsilonAttack(ABC):
    """An attack that looks for an adversarial within one ε."""

    def run(self, classifier: Classifier, examples: Examples) -> Claims:
        """Attack each image at the radii that it asks (`by_radius`)."""

        def attempt(rows: Examples, epsilon: float, attempted: int) -> Claims:
            return _counted(classifier, rows, lambda tile: self.attempt(classifier, tile, epsilon, attempted))

        return by_radius(examples, self.attempts(classifier), attempt)

    def attempts(self, classifier: Classifier) -> int:
        """How often the attack may try an image at one ε."""
        return 1

    @abstractmethod
    def attempt(self, classifier: Classifier, tile: Examples, epsilon: float, attempted: int) -> Claims:
        """Attack a tile once.

        Args:
            classifier: the model.
            tile: the images.
            epsilon: the radius.
            attempted: how often these images were tried before at this radius.
        """


class MinimumNormAttack(ABC):
    """An attack that looks for the nearest adversarial, whatever the ε."""

    def run(self, classifier: Classifier, examples: Examples) -> Claims:
        """Attack each image once."""
        return _counted(classifier, examples, lambda tile: self.attempt(classifier, tile))

    @abstractmethod
    def attempt(self, classifier: Classifier, tile: Examples) -> Claims:
        """Attack a tile."""


def by_radius(examples: Examples, attempts: int, attempt: Callable[[Examples, float, int], Claims]) -> Claims:
    """Attempts at the radii that each image asks, one after the other, each repeated up to a success.

    An image of which nothing is known is asked in ascending order, up to its first success. Where an adversarial is
    known (`distance`), the nearest radius below it comes first, and smaller ones follow as long as they succeed: an
    attack that fails within ε is not asked to succeed within less.

    Args:
        examples: the images.
        attempts: how often an image is tried at each ε.
        attempt: images, ε and number of attempts before to what was found.
    """
    points, found = examples.x.clone(), torch.zeros(len(examples), dtype=torch.bool, device=examples.x.device)
    known = torch.isfinite(examples.distance)
    ended = torch.zeros_like(found)

    def at(epsilon: float, rows: Tensor) -> Tensor:
        """Attempts on some rows; returns which of them (N,) succeeded."""
        succeeded = torch.zeros_like(found)
        for attempted in range(attempts):
            left = (rows & ~succeeded).nonzero().squeeze(1)
            if not len(left):
                break
            claims = attempt(examples.rows(left), epsilon, attempted)
            hits = left[claims.found]
            points[hits], succeeded[hits] = claims.points[claims.found], True
        return succeeded

    radii = torch.unique(examples.eps[torch.isfinite(examples.eps)]).tolist()
    for epsilon in radii:
        found |= at(epsilon, (examples.eps == epsilon).any(dim=1) & ~known & ~found)
    for epsilon in reversed(radii):
        rows = (examples.eps == epsilon).any(dim=1) & known & ~ended
        succeeded = at(epsilon, rows)
        found |= succeeded
        ended |= rows & ~succeeded
    return Claims(points, found)


def _counted(classifier: Classifier, examples: Examples, attempt: Callable[[Examples], Claims]) -> Claims:
    """An attempt on all rows, in tiles of fixed size; passes of the copies that fill a tile are not counted."""

    def on_tile(tile: Examples, real: int) -> Claims:
        with classifier.passes.at_most(real):
            return attempt(tile)

    return in_tiles(classifier, examples, on_tile)

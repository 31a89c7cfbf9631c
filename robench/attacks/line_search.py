"""Boundary line search: what an attack claims, verified in float64 and moved along a line to the boundary.

On the segment from the image to a claimed point, robench looks for the nearest point that is adversarial in float64:
first at the radii asked (where foolbox would clip the perturbation to), then by bisection. So the distance of a record
is that of an attack's direction, not of its last step's length. The point as stored is then evaluated alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from robench.attacks.classifier import Classifier
from robench.attacks.examples import Claims, Examples, Rows, expand, in_tiles

PUSHES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""How far beyond a claimed point to look where float64 does not agree with it, relative."""
HALVINGS = 10
"""Bisection steps: the distance is within 2^-10 of the nearest boundary found on the segment."""
CLEARANCE = 2.0**-43
"""Share of the larger of the two logits compared by which the wrong class must lead, so that other float64 code agrees
on the class: 1024 units of float64. Logits that take no part, such as those of masked classes, have no say."""
INSIDE = 1.0 - 1e-7
"""Aims at this share of an ε, so that after rounding to float32 the point is within ε."""


@dataclass(frozen=True)
class _Segments(Rows):
    """Lines from images to claimed points; x, label and eps as in `Examples`."""

    x: Float32[Tensor, "n ..."]
    label: Int[Tensor, " n"]
    eps: Float[Tensor, "n k"]
    claimed: Float[Tensor, "n ..."]


def nearest_on_segment(
    classifier: Classifier, examples: Examples, claimed: Float[Tensor, "n ..."], bounds: tuple[float, float]
) -> Claims:
    """The nearest adversarial on each segment from an image through a claimed point.

    Args:
        classifier: the model.
        examples: the images.
        claimed: points.
        bounds: the box of valid inputs.

    Returns:
        Points in float32, `found` where they are adversarial in float64.
    """
    segments = _Segments(examples.x, examples.label, examples.eps, claimed)
    return in_tiles(classifier, segments, lambda tile, real: _LineSearch(classifier, tile, real, bounds).run())


def predict_alone(
    classifier: Classifier, points: Float32[Tensor, "n ..."], label: Int[Tensor, " n"]
) -> Int[Tensor, " n"]:
    """Classes in float64, each point evaluated alone; -1 where one is not clearly wrong.

    Args:
        classifier: the model.
        points: (n, *shape).
        label: true classes.
    """
    logits = torch.cat([classifier.exact_logits(point, 1) for point in torch.split(points, 1)])
    return torch.where(clearly_wrong(logits, label), logits.argmax(dim=1), -1)


def clearly_wrong(logits: Float[Tensor, "n q"], label: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Rows in which another class leads the true one by more than rounding of the two logits can explain."""
    own = logits.gather(1, label[:, None]).squeeze(1)
    others = logits.scatter(1, label[:, None], -torch.inf).amax(dim=1)
    return others - own > CLEARANCE * torch.maximum(own.abs(), others.abs())


class _LineSearch:
    """The search on one tile of segments; a position is a share of the way from the image to the claimed point."""

    def __init__(self, classifier: Classifier, tile: _Segments, real: int, bounds: tuple[float, float]) -> None:
        self.classifier, self.real, self.bounds = classifier, real, bounds
        self.x, self.label, self.eps = tile.x.double(), tile.label, tile.eps.double()
        self.shift = tile.claimed.double() - self.x
        self.length = self.shift.flatten(1).norm(dim=1).clamp_min(1e-300)

    def run(self) -> Claims:
        """The nearest adversarial found on each segment."""
        high, found = self._claimed()
        if self._any(found):
            low, high = self._within_radii(high, found)
            high = self._bisected(low, high)
        return Claims(self._at(high), found)

    def _claimed(self) -> tuple[Tensor, Tensor]:
        """A position at or just beyond each claimed point that is adversarial in float64, and where there is one."""
        high = torch.ones_like(self.length)
        found = torch.zeros_like(self.label, dtype=torch.bool)
        for push in PUSHES:
            high = torch.where(found, high, torch.full_like(high, 1.0 + push))
            found |= self._wrong(high)
            if bool(found[: self.real].all()):
                break
        return high, found

    def _within_radii(self, high: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
        """The largest position seen to be right and the smallest seen to be wrong, at the radii asked."""
        low = torch.zeros_like(high)
        searching = found.clone()
        for k in range(self.eps.shape[1]):
            position = self.eps[:, k] / self.length * INSIDE
            asked = searching & (position < high)
            if not self._any(asked):
                continue
            wrong = self._wrong(torch.where(asked, position, high))
            low = torch.where(asked & ~wrong, position, low)
            high = torch.where(asked & wrong, position, high)
            searching &= ~(asked & wrong)
        return low, high

    def _bisected(self, low: Tensor, high: Tensor) -> Tensor:
        for _ in range(HALVINGS):
            middle = (low + high) / 2.0
            wrong = self._wrong(middle)
            high, low = torch.where(wrong, middle, high), torch.where(wrong, low, middle)
        return high

    def _any(self, rows: Tensor) -> bool:
        return bool(rows[: self.real].any())

    def _at(self, position: Tensor) -> Tensor:
        """The float32 points at some positions, in the box."""
        return (self.x + expand(position, self.shift) * self.shift).float().clamp(*self.bounds)

    def _wrong(self, position: Tensor) -> Tensor:
        return clearly_wrong(self.classifier.exact_logits(self._at(position), self.real), self.label)

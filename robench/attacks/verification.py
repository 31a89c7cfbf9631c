"""What an attack claims, verified: the class in float64, alone, of the point as stored; moved to the boundary.

On the segment from the image to a claimed point, robench looks for the nearest point that is adversarial in float64:
first at the radii asked (where foolbox would clip the perturbation to), then by bisection. So the distance of a record
is that of an attack's direction, not of its last step's length.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robench.attacks.classifier import Classifier
from robench.attacks.rows import State, expand, tiles

PUSHES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""How far beyond a claimed point to look where float64 does not agree with it, relative."""
HALVINGS = 10
"""Bisection steps: the distance is within 2^-10 of the nearest boundary found on the segment."""
CLEARANCE = 2.0**-43
"""Share of the larger of the two logits compared by which the wrong class must lead, so that other float64 code agrees
on the class: 1024 units of float64. Logits that take no part, such as those of masked classes, have no say."""
INSIDE = 1.0 - 1e-7
"""Aims at this share of an ε, so that after rounding to float32 the point is within ε."""


def nearest_on_segment(
    classifier: Classifier, jobs: State, points: Tensor, bounds: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """The nearest adversarial point on each segment from `jobs["x"]` through `points`.

    Returns:
        Points (N, *shape) in float32, and which of them (N,) are adversarial in float64.
    """
    results, flags = [], []
    for tile, real in tiles(classifier, {**jobs, "claimed": points}):
        segment = _Segment(classifier, tile, real, bounds)
        reach, found = segment.shortest()
        results.append(segment.at(reach)[:real])
        flags.append(found[:real])
    return torch.cat(results), torch.cat(flags)


def predict_alone(classifier: Classifier, point: Tensor, label: int) -> int | None:
    """The class of one float32 point (1, *shape) in float64, evaluated alone; None if it is not clearly wrong."""
    logits = classifier.exact_logits(point, 1)
    if not bool(clearly_wrong(logits, torch.tensor([label], device=logits.device))):
        return None
    return int(logits.argmax(dim=1))


def clearly_wrong(logits: Tensor, label: Tensor) -> Tensor:
    """Rows in which another class leads the true one by more than rounding of the two logits can explain."""
    own = logits.gather(1, label[:, None]).squeeze(1)
    others = logits.scatter(1, label[:, None], -torch.inf).amax(dim=1)
    return others - own > CLEARANCE * torch.maximum(own.abs(), others.abs())


class _Segment:
    """One tile of segments; a position is a share of the way from the image to the claimed point."""

    def __init__(self, classifier: Classifier, tile: State, real: int, bounds: tuple[float, float]) -> None:
        self.classifier, self.real, self.bounds = classifier, real, bounds
        self.x, self.label, self.eps = tile["x"].double(), tile["label"], tile["eps"].double()
        self.shift = tile["claimed"].double() - self.x
        self.length = self.shift.flatten(1).norm(dim=1).clamp_min(1e-300)

    def at(self, position: Tensor) -> Tensor:
        """The float32 points at some positions, in the box."""
        return (self.x + expand(position, self.shift) * self.shift).float().clamp(*self.bounds)

    def shortest(self) -> tuple[Tensor, Tensor]:
        """The smallest adversarial position found on each segment, and where there is one."""
        high = torch.ones_like(self.length)
        found = torch.zeros_like(self.label, dtype=torch.bool)
        for push in PUSHES:
            high = torch.where(found, high, torch.full_like(high, 1.0 + push))
            found |= self._wrong(high)
            if bool(found[: self.real].all()):
                break
        low = torch.zeros_like(high)
        searching = found.clone()
        for k in range(self.eps.shape[1]):
            position = self.eps[:, k] / self.length * INSIDE
            asked = searching & (position < high)
            if not bool(asked[: self.real].any()):
                continue
            wrong = self._wrong(torch.where(asked, position, high))
            low = torch.where(asked & ~wrong, position, low)
            high = torch.where(asked & wrong, position, high)
            searching &= ~(asked & wrong)
        for _ in range(HALVINGS if bool(found[: self.real].any()) else 0):
            middle = (low + high) / 2.0
            wrong = self._wrong(middle)
            high, low = torch.where(wrong, middle, high), torch.where(wrong, low, middle)
        return high, found

    def _wrong(self, position: Tensor) -> Tensor:
        return clearly_wrong(self.classifier.exact_logits(self.at(position), self.real), self.label)

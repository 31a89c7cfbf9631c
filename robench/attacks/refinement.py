"""Boundary refinement: from an adversarial along the boundary towards the image. It is no attack of its own.

Each step replaces the boundary by its tangent plane at the current point and goes to the point of that plane, within
the box, that is nearest to the image, as DeepFool does from the image side and FAB (Croce & Hein, arXiv 1907.02044)
from both. A few passes find what Carlini-Wagner finds in some hundred, where the boundary is nearly flat.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from robench.attacks.classifier import Classifier, margin, negative_margin
from robench.attacks.examples import Examples, Rows, expand, in_tiles, norms

STEPS = 30
"""Tangent steps at most."""
PATIENCE = 6
"""Steps in a row without gain after which the refinement of an image ends."""
GAIN = 0.001
"""Relative decrease of the distance that counts as a gain."""
OVERSHOOT = 1.02
"""Goes this far beyond the tangent plane, so that a curved boundary is crossed (best of 1.001, 1.005 and 1.02)."""
NEWTON = 6
"""Newton steps for the nearest point of a plane within the box."""
ENOUGH = 0.9999
"""Share of the smallest radius asked: an adversarial at this distance answers all of them."""


@dataclass(frozen=True)
class _Refined(Rows):
    """How far the refinement of each image is.

    Fields:
        x, label, scale: as in `Examples`.
        enough: a distance that leaves nothing to ask.
        current: where the boundary is replaced by its tangent plane next.
        nearest: the nearest adversarial so far.
        distance: of `nearest`.
        idle: steps in a row without gain.
    """

    x: Float32[Tensor, "n ..."]
    label: Int[Tensor, " n"]
    scale: Float[Tensor, " n"]
    enough: Float[Tensor, " n"]
    current: Float32[Tensor, "n ..."]
    nearest: Float32[Tensor, "n ..."]
    distance: Float[Tensor, " n"]
    idle: Int[Tensor, " n"]

    def measured(self) -> _Refined:
        """With the distance of `nearest`."""
        return replace(self, distance=norms(self.nearest - self.x))

    def going(self) -> Bool[Tensor, " n"]:
        """Which rows may still gain."""
        return (self.idle <= PATIENCE) & (self.distance > self.enough)


def refine(classifier: Classifier, examples: Examples, claimed: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Nearer adversarials, found along the boundary.

    Args:
        classifier: the model.
        examples: the images.
        claimed: points (N, *shape) that an attack claims to be adversarial.
        bounds: the box of valid inputs.

    Returns:
        The points (N, *shape) in float32; the claimed one where none is nearer.
    """
    state = in_tiles(classifier, _start(examples, claimed), lambda tile, real: tile.measured())
    nearest = claimed.clone()
    left = torch.arange(len(examples), device=claimed.device)
    for _ in range(STEPS):
        state = in_tiles(classifier, state, lambda tile, real: _step(classifier, tile, real, bounds))
        nearest[left] = state.nearest
        going = state.going()
        left, state = left[going], state.rows(going)
        if not len(left):
            break
    return nearest


def _start(examples: Examples, claimed: Tensor) -> _Refined:
    """At the claimed points; distances are not measured yet."""
    return _Refined(
        x=examples.x,
        label=examples.label,
        scale=examples.scale,
        enough=examples.eps[:, 0] * ENOUGH,
        current=claimed,
        nearest=claimed,
        distance=torch.zeros_like(examples.scale),
        idle=torch.zeros_like(examples.label),
    )


def _step(classifier: Classifier, tile: _Refined, real: int, bounds: tuple[float, float]) -> _Refined:
    """One tangent step of a tile with so many real rows."""
    x, current = tile.x, tile.current
    logits, slope = classifier.differentiate(current, tile.scale, negative_margin(tile.label), real)
    depth = -margin(logits, tile.label)
    length = norms(current - x)
    gain = (depth > 0) & (length < (1.0 - GAIN) * tile.distance)
    better = (depth > 0) & (length < tile.distance)
    level = (slope * (current - x)).flatten(1).sum(dim=1) - depth
    return replace(
        tile,
        current=_nearest_on_plane(x, slope, level, bounds),
        nearest=torch.where(expand(better, current), current, tile.nearest),
        distance=torch.where(better, length, tile.distance),
        idle=torch.where(gain, torch.zeros_like(tile.idle), tile.idle + 1),
    )


def _nearest_on_plane(x: Tensor, slope: Tensor, level: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Near the point y of the box nearest to x with slope . (y - x) = level: y = clip(x + multiplier slope)."""
    multiplier = torch.zeros_like(level)
    free = torch.ones_like(x)
    reached = torch.zeros_like(level)
    for _ in range(NEWTON):
        curvature = (slope.square() * free).flatten(1).sum(dim=1).clamp_min(1e-12)
        multiplier = (multiplier + (level - reached) / curvature).clamp_min(0.0)
        moved = x + expand(multiplier, x) * slope
        clipped = moved.clamp(*bounds)
        free = (moved == clipped).to(x.dtype)
        reached = (slope * (clipped - x)).flatten(1).sum(dim=1)
    return (x + OVERSHOOT * expand(multiplier, x) * slope).clamp(*bounds)

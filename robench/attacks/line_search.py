"""From an adversarial point along the boundary towards the image: a refinement, not an attack of its own.

Each step replaces the boundary by its tangent plane at the current point and goes to the point of that plane, within
the box, that is nearest to the image, as DeepFool does from the image side and FAB (Croce & Hein, arXiv 1907.02044)
from both. A few passes find what Carlini-Wagner finds in some hundred, where the boundary is nearly flat.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robench.attacks.classifier import TiledModel, margin, negative_margin
from robench.attacks.rows import State, expand, norms

STEPS = 30
"""Tangent steps at most."""
PATIENCE = 6
"""Steps in a row without gain after which a walk ends."""
GAIN = 0.001
"""Relative decrease of the distance that counts as a gain."""
OVERSHOOT = 1.02
"""Goes this far beyond the tangent plane, so that a curved boundary is crossed (best of 1.001, 1.005 and 1.02)."""
NEWTON = 6
"""Newton steps for the nearest point of a plane within the box."""


class Walk:
    """Jobs carry `claimed` (T, *shape), the adversarial points to start from."""

    def __init__(self, bounds: tuple[float, float]) -> None:
        self.bounds = bounds

    def begin(self, model: TiledModel, rows: State, active: int) -> State:
        """Start at the claimed points."""
        return {
            **rows,
            "current": rows["claimed"].clone(),
            "best": norms(rows["claimed"] - rows["x"]),
            "t": torch.zeros_like(rows["label"]),
            "idle": torch.zeros_like(rows["label"]),
            "point": rows["claimed"].clone(),
            "found": torch.ones_like(rows["label"], dtype=torch.bool),
        }

    def step(self, model: TiledModel, state: State, active: int) -> Tensor:
        """One tangent step."""
        x, current = state["x"], state["current"]
        logits, slope = model.differentiate(current, state["scale"], negative_margin(state["label"]), active)
        depth = -margin(logits, state["label"])
        length = norms(current - x)
        gain = (depth > 0) & (length < (1.0 - GAIN) * state["best"])
        better = (depth > 0) & (length < state["best"])
        state["best"] = torch.where(better, length, state["best"])
        state["point"] = torch.where(expand(better, current), current, state["point"])
        state["idle"] = torch.where(gain, torch.zeros_like(state["idle"]), state["idle"] + 1)
        state["current"] = self._nearest(x, slope, (slope * (current - x)).flatten(1).sum(dim=1) - depth)
        state["t"] += 1
        return (state["t"] >= STEPS) | (state["idle"] > PATIENCE) | (state["best"] <= state["goal"])

    def _nearest(self, x: Tensor, slope: Tensor, level: Tensor) -> Tensor:
        """Near the point y of the box nearest to x with slope . (y - x) = level: y = clip(x + multiplier slope)."""
        multiplier = torch.zeros_like(level)
        free = torch.ones_like(x)
        reached = torch.zeros_like(level)
        for _ in range(NEWTON):
            curvature = (slope.square() * free).flatten(1).sum(dim=1).clamp_min(1e-12)
            multiplier = (multiplier + (level - reached) / curvature).clamp_min(0.0)
            moved = x + expand(multiplier, x) * slope
            clipped = moved.clamp(*self.bounds)
            free = (moved == clipped).to(x.dtype)
            reached = (slope * (clipped - x)).flatten(1).sum(dim=1)
        return (x + OVERSHOOT * expand(multiplier, x) * slope).clamp(*self.bounds)

"""The L2 fast gradient step: one gradient for all ε, then one forward pass for each.

Goodfellow et al., arXiv 1412.6572, in its L2 form as foolbox's `L2FastGradientAttack`, whose points it equals; foolbox
takes the same gradient again for each ε.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robench.attacks.classifier import TiledModel, margin
from robench.attacks.losses import ascended
from robench.attacks.rows import State, expand, unit
from robench.specs.attacks import FgsmSpec


class Fgsm:
    """For each image the radii asked, in ascending order, up to the first success."""

    def __init__(self, spec: FgsmSpec, bounds: tuple[float, float]) -> None:
        self.spec = spec
        self.bounds = bounds

    def begin(self, model: TiledModel, rows: State, active: int) -> State:
        """Take the gradient at the image."""
        loss = ascended(self.spec.loss, rows["label"])
        _, gradient = model.differentiate(rows["x"], rows["scale"], loss, active)
        return {
            **rows,
            "direction": unit(gradient),
            "k": torch.zeros_like(rows["label"]),
            "point": rows["x"].clone(),
            "found": torch.zeros_like(rows["label"], dtype=torch.bool),
        }

    def step(self, model: TiledModel, state: State, active: int) -> Tensor:
        """Try the next ε of each row."""
        radius = state["eps"].gather(1, state["k"][:, None]).squeeze(1)
        state["point"] = (state["x"] + expand(radius, state["x"]) * state["direction"]).clamp(*self.bounds)
        logits = model.logits(state["point"], state["scale"], active)
        state["found"] = margin(logits, state["label"]) < 0
        state["k"], exhausted = next_radius(state)
        return state["found"] | exhausted


def next_radius(state: State) -> tuple[Tensor, Tensor]:
    """The position of the next ε of each row, and the rows that have none left; those stay where they are."""
    following = (state["k"] + 1).clamp_max(state["eps"].shape[1] - 1)
    radius = state["eps"].gather(1, following[:, None]).squeeze(1)
    exhausted = (following == state["k"]) | torch.isinf(radius)
    return torch.where(exhausted, state["k"], following), exhausted

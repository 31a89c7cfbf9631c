"""DeepFool in L2: step to the nearest linearised boundary until the class changes.

Moosavi-Dezfooli et al., arXiv 1511.04599; as foolbox's `L2DeepFoolAttack`, whose points it equals, but with one forward
pass for all candidates, and each image stops by itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robench.attacks.classifier import TiledModel
from robench.attacks.rows import State, expand, norms
from robench.specs.attacks import DeepFoolSpec


class DeepFool:
    """A minimization attack: it asks nothing of ε."""

    def __init__(self, spec: DeepFoolSpec, bounds: tuple[float, float]) -> None:
        self.spec = spec
        self.bounds = bounds

    def begin(self, model: TiledModel, rows: State, active: int) -> State:
        """Rank the classes at the image."""
        logits = model.logits(rows["x"], rows["scale"], active)
        ranked = logits.argsort(dim=1, descending=True, stable=True)[:, : self.spec.candidates]
        return {
            **rows,
            "classes": ranked,
            "total": torch.zeros_like(rows["x"]),
            "t": torch.zeros_like(rows["label"]),
            "point": rows["x"].clone(),
            "found": torch.zeros_like(rows["label"], dtype=torch.bool),
        }

    def step(self, model: TiledModel, state: State, active: int) -> Tensor:
        """One linearisation of each row that is not yet adversarial."""
        classes = state["classes"]
        logits, gradients = model.jacobian(state["point"], state["scale"], classes, active)
        state["found"] = logits.argmax(dim=1) != state["label"]
        over = state["t"] >= self.spec.steps
        ranked = logits.gather(1, classes)
        gaps = (ranked[:, 1:] - ranked[:, :1]).abs()
        lengths = gradients.flatten(2).norm(dim=2).clamp_min(1e-30)
        distances = gaps / lengths
        best = distances.argmin(dim=1, keepdim=True)
        step = (distances.gather(1, best).squeeze(1) + 1e-4) / lengths.gather(1, best).squeeze(1)
        direction = gradients[torch.arange(len(best), device=best.device), best.squeeze(1)]
        step = torch.where(norms(direction) > 0, step, torch.zeros_like(step))
        frozen = expand(state["found"] | over, direction)
        state["total"] = torch.where(frozen, state["total"], state["total"] + expand(step, direction) * direction)
        moved = (state["x"] + (1.0 + self.spec.overshoot) * state["total"]).clamp(*self.bounds)
        state["point"] = torch.where(frozen, state["point"], moved)
        state["t"] += 1
        return state["found"] | over

"""Decoupled direction and norm: a sphere that shrinks while the image is fooled and grows while it is not.

Rony et al., arXiv 1811.09600; as foolbox's `DDNAttack`, but where the gradient vanishes the direction is drawn from the
generator of the image, not of the batch.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from robench.attacks.classifier import TiledModel, margin
from robench.attacks.losses import ascended
from robench.attacks.pgd import ball
from robench.attacks.rows import State, expand, norms, unit
from robench.specs.attacks import DdnSpec


class Ddn:
    """A minimization attack; an image ends early once its distance leaves nothing to ask."""

    def __init__(self, spec: DdnSpec, bounds: tuple[float, float], seed: int) -> None:
        self.spec = spec
        self.bounds = bounds
        self.seed = seed

    def begin(self, model: TiledModel, rows: State, active: int) -> State:
        """Start at the image on a sphere of the first radius."""
        x = rows["x"]
        low, high = self.bounds
        draws = [ball(self.seed, int(index), 1, x[0].numel())[0] for index in rows["index"].tolist()]
        worst = norms(torch.maximum(x - low, high - x))
        return {
            **rows,
            "noise": torch.from_numpy(np.stack(draws)).to(x).reshape(x.shape),
            "delta": torch.zeros_like(x),
            "radius": torch.full_like(worst, self.spec.init_epsilon),
            "worst": worst,
            "best": worst.clone(),
            "t": torch.zeros_like(rows["label"]),
            "point": x.clone(),
            "found": torch.zeros_like(rows["label"], dtype=torch.bool),
        }

    def step(self, model: TiledModel, state: State, active: int) -> Tensor:
        """One gradient step on the sphere, and its new radius."""
        x, delta = state["x"], state["delta"]
        current = x + delta
        logits, gradient = model.differentiate(
            current, state["scale"], ascended("cross-entropy", state["label"]), active
        )
        adversarial = margin(logits, state["label"]) < 0
        length = norms(delta)
        better = adversarial & (length <= state["best"])
        state["best"] = torch.where(better, length, state["best"])
        state["point"] = torch.where(expand(better, x), current, state["point"])
        state["found"] |= better

        gradient = torch.where(expand(norms(gradient) == 0, gradient), state["noise"], gradient)
        delta = delta + expand(self._stepsize(state["t"]), x) * unit(gradient)
        factor = torch.where(adversarial, 1.0 - self.spec.gamma, 1.0 + self.spec.gamma)
        state["radius"] = torch.minimum(state["radius"] * factor, state["worst"])
        delta = delta * expand(state["radius"] / norms(delta).clamp_min(1e-30), x)
        state["delta"] = (x + delta).clamp(*self.bounds) - x
        state["t"] += 1
        return (state["t"] >= self.spec.steps) | (state["found"] & (state["best"] <= state["goal"]))

    def _stepsize(self, t: Tensor) -> Tensor:
        """Cosine annealing from 1.0 to 0.01."""
        return 0.01 + 0.99 * (1.0 + torch.cos(t.float() * (math.pi / self.spec.steps))) / 2.0

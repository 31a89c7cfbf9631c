"""L2 projected gradient descent, ε by ε, stopped for an image at its first adversarial iterate.

Madry et al., arXiv 1706.06083; steps, projection and start as foolbox's `L2ProjectedGradientDescentAttack`. Two
differences: any adversarial iterate counts, not the last one only; and the start is drawn from a generator of the
image, not of the batch.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from robench.attacks.classifier import TiledModel, margin
from robench.attacks.fgsm import next_radius
from robench.attacks.losses import ascended
from robench.attacks.rows import State, expand, project, unit
from robench.specs.attacks import PgdSpec


class Pgd:
    """For each image the radii asked, in ascending order, each with all restarts, up to the first success."""

    def __init__(self, spec: PgdSpec, bounds: tuple[float, float], seed: int) -> None:
        self.spec = spec
        self.bounds = bounds
        self.seed = seed

    def begin(self, model: TiledModel, rows: State, active: int) -> State:
        """Draw the starts of all restarts."""
        integers = torch.zeros_like(rows["label"])
        state = {
            **rows,
            "noise": self._noise(rows),
            "k": integers,
            "restart": integers.clone(),
            "t": integers.clone(),
            "point": rows["x"].clone(),
            "found": torch.zeros_like(integers, dtype=torch.bool),
        }
        self._restart(state, torch.ones_like(state["found"]))
        return state

    def step(self, model: TiledModel, state: State, active: int) -> Tensor:
        """One gradient step of each row; rows whose steps are over take the next restart or ε."""
        loss = ascended(self.spec.loss, state["label"])
        logits, gradient = model.differentiate(state["point"], state["scale"], loss, active)
        state["found"] = margin(logits, state["label"]) < 0
        over = state["t"] >= self.spec.steps
        radius = self._radius(state)
        moved = state["point"] + expand(self.spec.rel_stepsize * radius, gradient) * unit(gradient)
        moved = project(moved, state["x"], radius, self.bounds)
        stay = expand(state["found"] | over, moved)
        state["point"] = torch.where(stay, state["point"], moved)
        state["t"] += 1
        return state["found"] | self._next_start(state, over & ~state["found"])

    def _next_start(self, state: State, over: Tensor) -> Tensor:
        """Move rows whose steps are over to their next restart, then their next ε; returns those that have none."""
        last = state["restart"] + 1 >= self.spec.restarts
        following, exhausted = next_radius(state)
        state["k"] = torch.where(over & last, following, state["k"])
        state["restart"] = torch.where(
            over, torch.where(last, torch.zeros_like(state["restart"]), state["restart"] + 1), state["restart"]
        )
        self._restart(state, over)
        return over & last & exhausted

    def _restart(self, state: State, rows: Tensor) -> None:
        start = state["x"]
        if self.spec.random_start:
            chosen = state["noise"][torch.arange(len(start), device=start.device), state["restart"]]
            start = (start + expand(self._radius(state), start) * chosen).clamp(*self.bounds)
        state["point"] = torch.where(expand(rows, start), start, state["point"])
        state["t"] = torch.where(rows, torch.zeros_like(state["t"]), state["t"])

    def _radius(self, state: State) -> Tensor:
        return state["eps"].gather(1, state["k"][:, None]).squeeze(1)

    def _noise(self, rows: State) -> Tensor:
        """Uniform draws in the unit ball (T, restarts, *shape), from (seed, index) alone."""
        x = rows["x"]
        if not self.spec.random_start:
            return torch.zeros((len(x), 0, *x.shape[1:]), dtype=x.dtype, device=x.device)
        draws = [ball(self.seed, int(index), self.spec.restarts, x[0].numel()) for index in rows["index"].tolist()]
        return torch.from_numpy(np.stack(draws)).to(x).reshape(len(x), self.spec.restarts, *x.shape[1:])


def ball(seed: int, index: int, draws: int, dimension: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Uniform draws in the unit L2 ball (draws, dimension) that depend on (seed, index) alone.

    The first n coordinates of a uniform point on the sphere of n + 2 are uniform in the ball (Voelker et al., 2017).
    """
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, index])))
    sphere = generator.standard_normal((draws, dimension + 2))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    return sphere[:, :dimension]

"""Carlini and Wagner's L2 attack: min ||x' - x||^2 + c max(0, margin + confidence) by Adam, with a search over c.

Carlini & Wagner, arXiv 1608.04644; as foolbox's `L2CarliniWagnerAttack`, with three differences. Progress is judged by
the loss of the image, where foolbox breaks off the whole batch by its sum, so that results depend on batch-mates. A
failure is a failure, where foolbox returns a black image. And an image ends once its distance leaves nothing to ask, or
has come to rest clearly above the next ε that is open (`_hopeless`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robench.attacks.classifier import TiledModel, margin
from robench.attacks.rows import State, expand, norms
from robench.specs.attacks import CwSpec

BETA1, BETA2, TINY = 0.9, 0.999, 1e-8
"""Adam's constants, as in foolbox."""
INSIDE = 0.999999
"""Shrinks [-1, 1] so that arctanh is finite, as in foolbox."""
AT_REST, OUT_OF_REACH = 0.003, 0.03
"""An image ends when its distance shrank by less than the first over a tenth of the steps, and is larger than the next
open ε by more than the second. Measured over all constants on MNIST nets, what was left to gain then was below 1 % for
nine images in ten."""


class CarliniWagner:
    """A minimization attack in arctanh space."""

    def __init__(self, spec: CwSpec, bounds: tuple[float, float]) -> None:
        self.spec = spec
        low, high = bounds
        self.center, self.half = (low + high) / 2.0, (high - low) / 2.0
        self.check_every = math.ceil(spec.steps / 10)

    def begin(self, model: TiledModel, rows: State, active: int) -> State:
        """Move to arctanh space; the first c for everyone."""
        x, label = rows["x"], rows["label"]
        # In float64: the float32 arctanh rounds otherwise at the end of a vector, so for another tile.
        space = torch.atanh((x.double() - self.center) / self.half * INSIDE).float()
        c = torch.full_like(rows["scale"], self.spec.initial_const)
        return {
            **rows,
            "space": space,
            "anchor": self._to_input(space),
            "delta": torch.zeros_like(x),
            "mean": torch.zeros_like(x),
            "square": torch.zeros_like(x),
            "t": torch.zeros_like(label),
            "search": torch.zeros_like(label),
            "c": c,
            "low": torch.zeros_like(c),
            "high": torch.full_like(c, torch.inf),
            "flipped": torch.zeros_like(label, dtype=torch.bool),
            "checked": torch.full_like(c, torch.inf),
            "best": torch.full_like(c, torch.inf),
            "rested": torch.full_like(c, torch.inf),
            "point": x.clone(),
            "found": torch.zeros_like(label, dtype=torch.bool),
        }

    def step(self, model: TiledModel, state: State, active: int) -> Tensor:
        """One Adam step of each row; rows whose steps are over take their next c."""
        current = self._to_input(state["space"] + state["delta"])
        logits, gradient = model.differentiate(current, state["scale"], lambda z: self._penalty(z, state), active)
        shift = current - state["anchor"]
        loss = self._penalty(logits, state) + shift.flatten(1).square().sum(dim=1)
        self._keep_best(state, current, margin(logits, state["label"]) < -self.spec.confidence)
        gradient = (gradient + 2.0 * shift) * self.half * (1.0 - ((current - self.center) / self.half).square())
        self._adam(state, gradient)
        check = state["t"] % self.check_every == 0
        stalled = self._stalled(state, loss, check)
        enough = (state["best"] <= state["goal"]) | self._hopeless(state, check)
        state["t"] += 1
        over = (state["t"] >= self.spec.steps) | stalled
        if bool(over.any()):
            self._next_constant(state, over)
        return enough | (state["search"] >= self.spec.binary_search_steps)

    def _to_input(self, space: Tensor) -> Tensor:
        return torch.tanh(space) * self.half + self.center

    def _penalty(self, logits: Tensor, state: State) -> Tensor:
        return state["c"] * (margin(logits, state["label"]) + self.spec.confidence).clamp_min(0.0)

    def _keep_best(self, state: State, current: Tensor, adversarial: Tensor) -> None:
        length = norms(current - state["x"])
        better = adversarial & (length < state["best"])
        state["best"] = torch.where(better, length, state["best"])
        state["point"] = torch.where(expand(better, current), current, state["point"])
        state["found"] |= better
        state["flipped"] |= adversarial

    def _adam(self, state: State, gradient: Tensor) -> None:
        state["mean"] = BETA1 * state["mean"] + (1.0 - BETA1) * gradient
        state["square"] = BETA2 * state["square"] + (1.0 - BETA2) * gradient.square()
        t = state["t"].double() + 1.0
        first = expand((1.0 - BETA1**t).float(), gradient)
        second = expand((1.0 - BETA2**t).float(), gradient)
        step = state["mean"] / first / ((state["square"] / second).sqrt() + TINY)
        state["delta"] = state["delta"] - self.spec.stepsize * step

    def _hopeless(self, state: State, check: Tensor) -> Tensor:
        """Rows whose distance no longer shrinks and lies clearly above the next ε that is open."""
        best = state["best"]
        below = torch.where(state["eps"] < best[:, None], state["eps"], torch.zeros_like(state["eps"]))
        resting = state["found"] & (state["rested"] < (1.0 + AT_REST) * best)
        hopeless = check & resting & (best > (1.0 + OUT_OF_REACH) * below.amax(dim=1))
        state["rested"] = torch.where(check, best, state["rested"])
        return hopeless if self.spec.abort_early else torch.zeros_like(hopeless)

    def _stalled(self, state: State, loss: Tensor, check: Tensor) -> Tensor:
        """Rows whose own loss has not dropped by 0.01 % since the check before."""
        if not self.spec.abort_early:
            return torch.zeros_like(state["found"])
        stalled = check & ~(loss <= 0.9999 * state["checked"])
        state["checked"] = torch.where(check, loss, state["checked"])
        return stalled

    def _next_constant(self, state: State, over: Tensor) -> None:
        """Halve between what flipped the class and what did not; ten times more while nothing has."""
        c, flipped = state["c"], state["flipped"]
        high = torch.where(over & flipped, c, state["high"])
        low = torch.where(over & ~flipped, c, state["low"])
        following = torch.where(torch.isinf(high), c * 10.0, (low + high) / 2.0)
        state["c"] = torch.where(over, following, c)
        state["high"], state["low"] = high, low
        state["search"] += over
        keep = (~over).float()
        state["t"] = torch.where(over, torch.zeros_like(state["t"]), state["t"])
        state["flipped"] = flipped & ~over
        state["checked"] = torch.where(over, torch.full_like(c, torch.inf), state["checked"])
        for name in ("delta", "mean", "square"):
            state[name] = state[name] * expand(keep, state[name])

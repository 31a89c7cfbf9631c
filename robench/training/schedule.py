"""Learning rate as a function of the step, so that resuming needs no state of it."""

from __future__ import annotations

import math

import torch

from robench.specs.training import OptimizerSpec

WARM_UP, START_DIVISOR, END_DIVISOR = 0.3, 25.0, 1e4
MOMENTUM_HIGH, MOMENTUM_LOW = 0.95, 0.85


def make_optimizer(spec: OptimizerSpec, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser of a spec."""
    if spec.name == "sgd":
        return torch.optim.SGD(parameters, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay)
    kind = torch.optim.AdamW if spec.name == "adamw" else torch.optim.Adam
    return kind(parameters, lr=spec.lr, weight_decay=spec.weight_decay)


def learning_rate(spec: OptimizerSpec, step: int, total: int) -> float:
    """Learning rate of step 0..total-1.

    `one-cycle` (Smith and Topin 2018, with the constants of torch's `OneCycleLR`): half cosines from lr/25 up to lr
    over the first 30 %, and down to lr/250000.
    """
    if spec.schedule == "constant":
        return spec.lr
    if spec.schedule == "cosine":
        return _half_cosine(spec.lr, 0.0, step / total)
    low = spec.lr / START_DIVISOR
    rising, part = _one_cycle_part(step, total)
    return _half_cosine(low, spec.lr, part) if rising else _half_cosine(spec.lr, low / END_DIVISOR, part)


def momentum(spec: OptimizerSpec, step: int, total: int) -> float | None:
    """Momentum (first beta of Adam) of a step: `one-cycle` moves it against the learning rate; else None, leave it."""
    if spec.schedule != "one-cycle":
        return None
    rising, part = _one_cycle_part(step, total)
    ends = (MOMENTUM_HIGH, MOMENTUM_LOW) if rising else (MOMENTUM_LOW, MOMENTUM_HIGH)
    return _half_cosine(*ends, part)


def set_step(optimizer: torch.optim.Optimizer, spec: OptimizerSpec, step: int, total: int) -> None:
    """Put rate and momentum of a step into the optimiser."""
    beta = momentum(spec, step, total)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(spec, step, total)
        if beta is not None and "betas" in group:
            group["betas"] = (beta, group["betas"][1])
        elif beta is not None:
            group["momentum"] = beta


def _one_cycle_part(step: int, total: int) -> tuple[bool, float]:
    """Whether the rate rises at this step, and how far the rise or fall has come, 0 to 1."""
    peak = max(WARM_UP * total - 1, 0.0)
    if step < peak:
        return True, step / peak
    return False, min((step - peak) / max(total - 1 - peak, 1.0), 1.0)


def _half_cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2

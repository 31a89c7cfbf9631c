"""The optimiser of a spec, and its learning rate over the steps: torch's own."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from robench.specs.training import OptimizerSpec


def make_optimizer(spec: OptimizerSpec, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimiser of a spec."""
    if spec.name == "sgd":
        return SGD(parameters, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay)
    kind = AdamW if spec.name == "adamw" else Adam
    return kind(parameters, lr=spec.lr, weight_decay=spec.weight_decay)


def make_scheduler(spec: OptimizerSpec, optimizer: Optimizer, steps: int) -> LRScheduler:
    """What sets the learning rate of each step; `step` is called between two steps of the optimiser.

    `cosine` is a closed form, not torch's `CosineAnnealingLR`, which derives each rate from the one before.

    Args:
        spec: of the optimiser.
        optimizer: as `make_optimizer` has made it.
        steps: of the whole training.
    """
    if spec.schedule == "one-cycle":
        return OneCycleLR(optimizer, spec.lr, total_steps=steps)
    if spec.schedule == "cosine":
        return LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / steps)) / 2)
    return LambdaLR(optimizer, lambda step: 1.0)

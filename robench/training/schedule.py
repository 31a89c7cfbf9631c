"""The optimiser of a spec, and its learning rate over the steps: torch's own."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from robench.specs.training import OptimizerSpec


def make_optimizer(spec: OptimizerSpec, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimiser of a spec; on a GPU all weights are updated by one kernel."""
    given = list(parameters)
    fused = True if all(parameter.is_cuda for parameter in given) else None
    if spec.name == "sgd":
        return SGD(given, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay, fused=fused)
    kind = AdamW if spec.name == "adamw" else Adam
    return kind(given, lr=spec.lr, weight_decay=spec.weight_decay, fused=fused)


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

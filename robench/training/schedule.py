"""The optimisers of a spec, and their learning rate over the steps."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from robench.specs.training import OptimizerSpec
from robench.training.muon import Muon
from robench.training.scoring import head_of


def make_optimizers(spec: OptimizerSpec, model: nn.Sequential) -> list[Optimizer]:
    """The optimisers of a spec, in a fixed order; on a GPU all but Muon update their weights by one kernel.

    Args:
        spec: which, and at which rate.
        model: whose parameters they update; its last linear layer is the head.
    """
    given = list(model.parameters())
    if spec.name == "muon":
        head = set(head_of(model).parameters())
        hidden = [parameter for parameter in given if parameter.ndim > 1 and parameter not in head]
        others = [parameter for parameter in given if parameter.ndim <= 1 or parameter in head]
        adam = Adam(others, lr=spec.lr, fused=_fused(others))
        return [Muon(hidden, lr=spec.lr, weight_decay=spec.weight_decay), adam] if hidden else [adam]
    if spec.name == "sgd":
        fused = _fused(given)
        return [SGD(given, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay, fused=fused)]
    kind = AdamW if spec.name == "adamw" else Adam
    return [kind(given, lr=spec.lr, weight_decay=spec.weight_decay, fused=_fused(given))]


def _fused(parameters: Iterable[Tensor]) -> bool | None:
    return True if all(parameter.is_cuda for parameter in parameters) else None


def make_scheduler(spec: OptimizerSpec, optimizer: Optimizer, steps: int) -> LRScheduler:
    """What sets the learning rate of each step; `step` is called between two steps of the optimiser.

    `cosine` is a closed form, not torch's `CosineAnnealingLR`, which derives each rate from the one before.

    Args:
        spec: of the optimiser.
        optimizer: one of those that `make_optimizers` has made.
        steps: of the whole training.
    """
    if spec.schedule == "one-cycle":
        return OneCycleLR(optimizer, spec.lr, total_steps=steps)
    if spec.schedule == "cosine":
        return LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / steps)) / 2)
    return LambdaLR(optimizer, lambda step: 1.0)

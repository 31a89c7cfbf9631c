"""Which operations of torch draw random numbers."""

from __future__ import annotations

from typing import Any

import torch

from robench.lipschitz.trace.values import Value


def is_random(target: Any, args: tuple[Value, ...], kwargs: dict[str, Value]) -> bool:
    """Whether an operation draws random numbers, by its arguments: many do so in training mode alone."""
    if torch.Tag.nondeterministic_seeded not in getattr(target, "tags", ()):
        return False
    given = {argument.name: value for argument, value in zip(target._schema.arguments, args, strict=False)}
    given |= kwargs
    switches = [given[name] for name in ("train", "training", "dropout", "dropout_p") if name in given]
    return all(switches) if switches else not _has_default_off(target)


def _has_default_off(target: Any) -> bool:
    """Whether an argument that makes an operation random was left at a default that does not."""
    names = ("train", "training", "dropout", "dropout_p")
    return any(
        argument.name in names and argument.has_default_value() and not argument.default_value
        for argument in target._schema.arguments
    )

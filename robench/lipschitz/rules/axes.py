"""Arguments that name axes, or hold a number for each of them."""

from __future__ import annotations

from typing import Any

from robench.lipschitz.trace.trace import Call


def per_axis(value: Any, axes: int) -> tuple[int, ...]:
    """A number for each axis: given once or one by one."""
    items = (value,) if isinstance(value, int) else tuple(value)
    return items * axes if len(items) == 1 else items


def sample_axis(call: Call, axis: int) -> int:
    """A non-negative axis of the first argument, not the batch's."""
    rank = len(call.args[0].zero.shape)
    if axis % rank == 0:
        raise call.refusal("it mixes the samples of a batch")
    return axis % rank

"""Constants of an operation, and its error where they differ in float32."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from robench.lipschitz.norms.linear import LinearOp
from robench.lipschitz.norms.rounding import EXACT, Growth, Slack, vector_norm_upper
from robench.lipschitz.trace.signals import BATCH
from robench.lipschitz.trace.trace import Call
from robench.lipschitz.trace.values import Value
from robench.numerics import round_up


def per_sample(call: Call, constant: Tensor, what: str) -> Tensor:
    """A constant spread over the result, of one sample, flat; a scalar if all entries are equal.

    Args:
        call: the operation.
        constant: a tensor that broadcasts.
        what: its name in a refusal.

    Raises:
        BoundError: it is not the same for each sample of the batch.
    """
    spread = constant.expand(call.zero.shape).reshape(BATCH, -1)
    if not torch.equal(spread[0], spread[1]):
        raise call.refusal(f"its {what} differs from sample to sample")
    flat = spread[0].contiguous()
    if not flat.numel():
        return flat.new_ones(())
    return flat[0].clone() if bool((flat == flat[0]).all()) else flat


def one_sample(call: Call, offset: Tensor) -> Tensor:
    """A constant spread over the result, of one sample."""
    return offset.expand(call.zero.shape)[: call.zero.shape[0] // BATCH]


def other_constants(difference: LinearOp | None, offset: Tensor | None) -> Slack:
    """What a linear operation is off by in float32: ΔA, as an operation with entries |ΔA|, and the change it adds."""
    matrix = 0.0 if difference is None else difference.absolute_norm
    added = 0.0 if offset is None else vector_norm_upper(offset)
    return Slack(constants=Growth(matrix, added)) if matrix or added else EXACT


def moved_bounds(call: Call, bounds: Iterable[Value]) -> Slack:
    """Of a function that is cut off at constants: no entry changes by more than they do."""
    gaps = [float(call.gap(bound).max()) for bound in bounds if bound is not None]
    largest, size = max(gaps, default=0.0), math.prod(call.zero.shape) // BATCH
    return Slack(constants=Growth(0.0, round_up(largest * math.sqrt(size), 2))) if largest else EXACT

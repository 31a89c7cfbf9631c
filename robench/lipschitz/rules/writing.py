"""Rules for operations that write into a part of a tensor, as torch states them without operations in place.

`y[:, 0] = v` becomes `select_scatter(y, v, 1, 0)`: each entry of the result is an entry of y or of v.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robench.lipschitz.rules.copies import combined, require_same
from robench.lipschitz.trace.trace import Call
from robench.lipschitz.trace.values import Value, concrete, depends

CHOSEN = "which entries it takes depends on the input"


def scatter(call: Call) -> Value:
    """A slice, or a diagonal, of the first argument replaced by the second."""
    return combined(call, call.args[:2], lambda parts: call.target(*parts, *call.args[2:], **call.kwargs))


def copy_over(call: Call) -> Value:
    """The second argument in the shape of the first."""
    return combined(call, call.args[1:2], lambda parts: parts[0].expand(call.zero.shape))


def fill(call: Call) -> Value:
    """A value in the shape of the first argument."""
    return combined(call, call.args[1:2], lambda parts: parts[0].expand(call.zero.shape))


def index_put(call: Call) -> Value:
    """Entries at constant indices replaced."""
    indices = call.args[1]
    if depends(indices):
        raise call.refusal(CHOSEN)
    if call.get("accumulate", 3, False):
        raise call.refusal("it adds where an index comes twice")
    require_same(call, indices)
    values = (call.args[0], call.args[2])
    if concrete(values[1]).numel() > 1 and _twice(call, indices):
        raise call.refusal("an index comes twice, and torch does not say which of two values stays")
    return combined(call, values, lambda parts: call.target(parts[0], indices, parts[1]))


def _twice(call: Call, indices: Value) -> bool:
    """Whether two values go to the same entry."""
    counts = call.target(torch.zeros_like(call.zero), indices, torch.ones((), dtype=call.zero.dtype), True)
    return bool((counts > 1).any())


def where(call: Call) -> Value:
    """Entries of two values, chosen by a constant mask."""
    return _chosen(call, call.args[0], call.args[1], call.args[2])


def masked_fill(call: Call) -> Value:
    """A value at the entries that a constant mask names."""
    return _chosen(call, call.args[1], call.args[2], call.args[0])


def _chosen(call: Call, mask: Value, chosen: Value, other: Value) -> Value:
    if depends(mask):
        raise call.refusal(CHOSEN)
    require_same(call, mask)
    return combined(call, (chosen, other), lambda parts: torch.where(_shaped(mask), parts[0], parts[1]))


def _shaped(mask: Value) -> Tensor:
    found: Tensor = concrete(mask)
    return found

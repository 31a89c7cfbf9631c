"""Rules for operations that write into a part of a tensor, as torch states them without operations in place.

`y[:, 0] = v` becomes `select_scatter(y, v, 1, 0)`: each entry of the result is an entry of y or of v.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robench.lipschitz.norms.linear import Adding
from robench.lipschitz.rules.copies import MIXED, combined, require_same
from robench.lipschitz.trace.signals import BATCH, View
from robench.lipschitz.trace.trace import Call
from robench.lipschitz.trace.values import Value, concrete, depends

aten = torch.ops.aten
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


def written_along(call: Call) -> Value:
    """Entries at constant places of an axis replaced: `scatter`, `index_copy`, `index_fill`."""
    axis, index, values = call.args[1:4]
    if depends(index):
        raise call.refusal(CHOSEN)
    if call.kwargs:
        raise call.refusal("it combines values with what was there; robench bounds replacing and adding alone")
    require_same(call, index)
    number = not isinstance(values, View | Tensor)
    if not number and call.operation != "index_fill" and _along_twice(call, axis, index):
        raise call.refusal("an index comes twice, and torch does not say which of two values stays")

    def place(parts: list[Tensor]) -> Tensor:
        own, written = parts
        number = float(written) if written.dim() == 0 else written
        found: Tensor = call.target.overloadpacket(own, axis, index, number)
        return found

    return combined(call, (call.args[0], values), place)


def _along_twice(call: Call, axis: int, index: Tensor) -> bool:
    """Whether two values go to the same entry."""
    if call.operation == "index_copy":
        counts = torch.bincount(index.flatten())
    else:
        counts = torch.zeros_like(call.zero).scatter_add(axis, index, torch.ones(index.shape, dtype=call.zero.dtype))
    return bool((counts > 1).any())


def added_along(call: Call) -> Value:
    """Entries added at constant places of an axis: the adjoint of a selection, and a sum."""
    own, axis, index, source = call.args[:4]
    if depends(index):
        raise call.refusal(CHOSEN)
    require_same(call, index)
    nothing = torch.zeros_like(call.zero)
    if not isinstance(source, View):
        added = call.target(nothing, axis, index, call.constant(source, "source"))
    else:
        if axis % call.zero.dim() == 0:
            raise call.refusal(MIXED)
        placed = (
            nothing.index_add(axis, index, source.zero)
            if call.operation == "index_add"
            else nothing.scatter_add(axis, index, source.zero)
        )
        added = call.trace.linear(source, Adding(_places(call, source, axis, index), call.zero[0].numel()), placed)
    weight = call.get("alpha", 4, 1) if call.operation == "index_add" else 1
    return call.trace.call(aten.add.Tensor, own, added, alpha=weight)


def _places(call: Call, source: View, axis: int, index: Tensor) -> Tensor:
    """For each entry of one sample of the source, 1 + its place in one sample of the result; 0 if it is left out."""
    places = torch.arange(1, call.zero[0].numel() + 1).reshape(1, *call.zero.shape[1:]).expand(call.zero.shape)
    found = torch.zeros(source.shape, dtype=torch.long)
    if call.operation == "index_add":
        found[:] = places.index_select(axis, index)
    else:
        if index.shape[0] != BATCH:
            raise call.refusal(MIXED)
        found[tuple(slice(side) for side in index.shape)] = places.gather(axis, index)
    if not torch.equal(found[0], found[1]):
        raise call.refusal("its index differs from sample to sample")
    return found[0].flatten()


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

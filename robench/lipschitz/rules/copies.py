"""Rules for operations that only copy entries: slices, reshapes, permutations, padding, concatenations.

Each is run on the positions of the entries instead of their values, so that it is known what becomes of which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from robench.lipschitz.norms.linear import Adding
from robench.lipschitz.rules.transforms import structure
from robench.lipschitz.trace.nonlinear import Function
from robench.lipschitz.trace.signals import BATCH, View, Wrapped
from robench.lipschitz.trace.spectrum import spectrum_of
from robench.lipschitz.trace.trace import Call
from robench.lipschitz.trace.values import Squares, Value, concrete, depends

IN_ORDER = (
    "view", "_unsafe_view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "clone", "contiguous", "alias",
    "detach", "view_as",
)  # fmt: skip
"""Copies that keep the order of the entries in memory."""
SHAPED = frozenset(("expand_as", "view_as"))
"""Copies that take no more of their second argument than its shape."""
MOVING = frozenset(("permute", "transpose", "t", "movedim", "swapaxes"))
"""Copies that put whole axes into another order."""
MOVED = "it moves the batch axis from the front, and robench follows that axis nowhere else"

TAKING = frozenset(("select", "slice", "narrow", "split", "split_with_sizes", "chunk", "unbind", "tensor_split"))
"""Copies that take a part of an axis."""
TAKEN = "it takes samples out of a batch, which robench follows as a whole"
MIXED = "it mixes the samples of a batch"


def copy_view(call: Call, result: Tensor, index: Tensor) -> View:
    """The view with these positions, of the signal of the call's first view.

    Args:
        call: the operation.
        result: of the operation.
        index: positions instead of values.

    Raises:
        BoundError: samples of the batch are mixed.
    """
    signal = _views(call.args)[0].signal
    positions = index.round().long()
    if positions.shape != result.shape:
        raise call.refusal("it changes the shape in an unexpected way")
    even = positions.dim() > 0 and positions.numel() % BATCH == 0
    if even and positions.shape[0] == 0:
        raise call.refusal(TAKEN)  # such as `x[2:]`: nothing of a batch as small as this one, but of larger ones
    rows = positions.reshape(BATCH, -1) if even else None
    if rows is None or not _each_sample_alone(rows, signal.size) or positions.shape[0] % BATCH:
        reason = MOVED if call.operation in MOVING else TAKEN if call.operation in TAKING else MIXED
        raise call.refusal(reason)
    return View(signal, positions, result, gap=max(view.gap for view in _views(call.args)))


def _each_sample_alone(rows: Tensor, size: int) -> bool:
    first = rows[0]
    if bool((first > size).any()):
        return False
    expected = torch.where(first > 0, first + size, first)
    return torch.equal(rows[1], expected)


def _views(value: Value) -> list[View]:
    if isinstance(value, View):
        return [value]
    if isinstance(value, list | tuple):
        return [view for item in value for view in _views(item)]
    return []


def _positions(value: Value) -> Any:
    """Positions instead of values; constants become 0, the position of a constant."""
    if isinstance(value, View):
        return value.index.double()
    if isinstance(value, list | tuple):
        return type(value)(_positions(item) for item in value)
    return value


def copy(call: Call) -> Value:
    """An operation that only copies entries of its first argument."""
    if isinstance(call.args[0], Squares):
        return _reshaped_squares(call, call.args[0])
    call.view()
    if call.operation in SHAPED:
        call = replace(call, args=(call.args[0], torch.empty(concrete(call.args[1]).shape, dtype=torch.bool)))
    if len(_views(call.args)) + len(_views(tuple(call.kwargs.values()))) != 1:
        raise call.refusal("an index depends on the input")
    index = call.target(*_positions(call.args), **call.kwargs)
    _same_in_float32(call)
    if isinstance(call.zero, list | tuple):
        return [copy_view(call, zero, part) for zero, part in zip(call.zero, index, strict=True)]
    return copy_view(call, call.zero, index)


def _same_in_float32(call: Call) -> None:
    """An index that is computed, by the network or by an interpolation, may be another one in float32."""
    require_same(call, (call.args[1:], call.kwargs))
    if call.operation.startswith("upsample_nearest") and _nearest_differs(call):
        call.trace.refuse_float32(f"`{call.operation}` takes other entries there")


def require_same(call: Call, choice: Any) -> None:
    """Constants that say which entries are taken must be the same in float32."""
    computed = [value for value in _flat(choice) if isinstance(value, Tensor)]
    if any(not torch.equal(own, call.trace.deployed.constant(own)) for own in computed):
        call.trace.refuse_float32(f"`{call.operation}` takes other entries there")


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for item in value for leaf in _flat(item)] if isinstance(value, list | tuple) else [value]


def _nearest_differs(call: Call) -> bool:
    """Whether the nearest neighbours differ: an index is a product with the scale, rounded, and then cut off."""
    sides = call.view().shape[2:]
    places = torch.stack(torch.meshgrid(*(torch.arange(side) for side in sides), indexing="ij"))[None]
    found = [call.target(places.to(dtype), *call.args[1:], **call.kwargs) for dtype in (torch.float32, torch.float64)]
    return not torch.equal(found[0].double(), found[1])


def _reshaped_squares(call: Call, squares: Squares) -> Squares:
    if call.operation not in IN_ORDER or call.zero.shape[0] % BATCH:
        raise call.refusal("it moves entries of a sum of squares before its root")
    return replace(squares, zero=call.zero)


def convert(call: Call) -> Value:
    """A change of dtype that changes nothing, as everything is traced in float64."""
    if call.zero.dtype == torch.complex128:
        return structure(replace(call, args=(spectrum_of(call.view()), *call.args[1:])), spectrum_of(call.view()))
    if call.zero.dtype != torch.float64:
        raise call.refusal(f"it changes the precision to {call.zero.dtype}")
    return call.view()


def pad(call: Call) -> Value:
    """Padding of any mode: copies, and constants."""
    view = call.view()
    pads = list(call.get("pad", 1))
    mode = call.get("mode", 2, "constant") if call.operation == "pad" else "constant"
    index = torch.ops.aten.pad.default(view.index.double(), pads, mode, 0.0 if mode == "constant" else None)
    result = copy_view(call, call.zero, index)
    filling = call.get("value", 3 if call.operation == "pad" else 2)
    if mode == "constant" and filling is not None:
        result = replace(result, gap=max(view.gap, float(call.gap(filling).max())))
    zeros = mode == "constant" and (filling is None or float(call.constant(filling, "filling").abs().max()) == 0.0)
    if (zeros or mode == "circular") and all(side >= 0 for side in pads):
        sides = tuple(zip(pads[::2], pads[1::2], strict=True))[::-1]
        return replace(result, wrapped=Wrapped(view, sides, zeros))
    return result


def filled(call: Call) -> Value:
    """A constant of the shape of a view."""
    if any(depends(value) for value in (*call.args[1:], *call.kwargs.values())):
        raise call.refusal("it is filled with something that depends on the input")
    return call.zero


def dropout(call: Call) -> Value:
    """Nothing in evaluation mode; random in training mode, which is refused."""
    if call.get("train", 2, True):
        raise call.refusal("it is random in training mode; call `model.eval()` first")
    return call.view()


def native_dropout(call: Call) -> Value:
    """As `dropout`."""
    if call.get("train", 2, True) is not False:
        raise call.refusal("it is random in training mode; call `model.eval()` first")
    return [call.view(), call.zero[1]]


def concatenate(call: Call) -> Value:
    """Parts of one signal, or of several, put side by side."""
    return combined(call, call.args[0], lambda parts: call.target(parts, *call.args[1:], **call.kwargs))


def combined(call: Call, parts: Sequence[Value], place: Callable[[list[Tensor]], Tensor]) -> Value:
    """A result each entry of which is an entry of one of several parts, views or constants.

    Args:
        call: the operation.
        parts: what the entries are taken from.
        place: the operation as a function of the parts alone; it is run on positions.
    """
    views = _views(parts)
    if any(depends(part) and not isinstance(part, View) for part in parts):
        raise call.refusal("it joins indices, signs or sums of squares that depend on the input")
    if not views:
        return call.zero
    if all(view.signal is views[0].signal for view in views):
        owner, positions = views[0], [view.index.double() for view in views]
    else:
        owner, positions = _stacked(call, views)
    iterator = iter(positions)
    index = place([next(iterator) if isinstance(part, View) else _nowhere(part) for part in parts])
    result = copy_view(replace(call, args=(owner,), kwargs={}), call.zero, index)
    gaps = place([_nowhere(part.zero) if isinstance(part, View) else call.gap(part) for part in parts])
    result.gap = max([view.gap for view in views] + ([float(gaps.max())] if gaps.numel() else []))
    return result


def _nowhere(constant: Value) -> Tensor:
    """The position of a constant, for each of its entries."""
    shape = constant.shape if isinstance(constant, Tensor) else ()
    return torch.zeros(shape, dtype=torch.float64)


def _stacked(call: Call, views: list[View]) -> tuple[View, list[Tensor]]:
    """A signal that holds several, one after the other, and where each view lies in it; one may come twice."""
    flat = [view.zero.reshape(BATCH, -1) for view in views]
    stacked = call.trace.nonlinear(Function("concat", 1.0, entrywise=True), views, torch.cat(flat, dim=1))
    start, positions = 1, []
    for view in views:
        rows = torch.arange(start, start + view.size)
        positions.append(torch.stack((rows, rows + stacked.size)).reshape(view.shape).double())
        start += view.size
    return stacked, positions


def fold(call: Call) -> Value:
    """Patches added up to an image: the adjoint of taking them, which is a selection."""
    view = call.view()
    kernel, dilation, padding, stride = call.args[2:6]
    if len(view.shape) != 3:
        raise call.refusal("it has no batch axis")
    places = torch.arange(1, call.zero[0].numel() + 1, dtype=torch.float64).reshape(1, *call.zero.shape[1:])
    index = torch.ops.aten.im2col.default(places, kernel, dilation, padding, stride).flatten().long()
    return call.trace.linear(view, Adding(index, places.numel()), call.zero)

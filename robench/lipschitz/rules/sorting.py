"""Rules for sorts, and for what they put in order: maxima, minima, the k largest, medians."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robench.lipschitz.rules.axes import sample_axis
from robench.lipschitz.rules.constants import moved_bounds
from robench.lipschitz.trace.nonlinear import Function
from robench.lipschitz.trace.signals import BATCH, View
from robench.lipschitz.trace.trace import Call, Sorted
from robench.lipschitz.trace.values import Squares, Unusable, Value, depends
from robench.numerics import round_up

aten = torch.ops.aten


def sort(call: Call) -> Value:
    """Values sorted along an axis; the order itself has no bound."""
    dim, descending = call.get("dim", 1, -1), call.get("descending", 2, False)
    if call.kwargs.get("stable") is not None or isinstance(dim, bool):  # sort.stable(self, *, stable, dim, descending)
        dim, descending = call.kwargs.get("dim", -1), call.kwargs.get("descending", False)
    axis = sample_axis(call, dim)
    ordered = _sorted(call, call.view(), axis)
    if descending:
        ordered = call.trace.call(aten.flip.default, ordered, [axis])
    return [ordered, Unusable(call.zero[1], "the order of a sort, which is not continuous")]


def _sorted(call: Call, view: View, axis: int) -> View:
    """The view sorted along an axis, ascending; one signal however often it is asked for."""
    for known in call.trace.sorts:
        if known.axis == axis and known.view.same_as(view):
            return known.result

    def groups() -> Tensor:
        positions = torch.arange(view.size).reshape(view.shape[0] // BATCH, *view.shape[1:])
        return positions.movedim(axis, -1).reshape(-1, view.shape[axis])

    result = call.trace.nonlinear(Function("sort", 1.0, groups=groups), [view], view.zero.sort(axis).values)
    call.trace.sorts.append(Sorted(view, axis, result))
    return result


def extreme_along(call: Call) -> Value:
    """The largest or smallest entry along an axis, or the larger of two tensors: torch has one name for both."""
    if call.operation in ("max", "min") and len(call.args) > 1 and depends(call.args[1]):
        return extremum(call)
    axes = call.get("dim", 1)
    if isinstance(axes, list | tuple) and len(axes) != 1 and call.operation in ("amax", "amin"):
        for axis in axes or range(len(call.view().shape)):
            sample_axis(call, axis)
        return call.trace.nonlinear(
            Function(call.operation, 1.0), [call.view()], call.zero
        )  # of sets that are disjoint
    axis, size = _one_axis(call, axes)
    place = 0 if call.operation in ("amin", "min") else size - 1
    return _from_sorted(call, axis, [place], keep=call.get("keepdim", 2, False))


def topk(call: Call) -> Value:
    """The k largest entries along an axis, the largest first; or the k smallest."""
    if not call.get("sorted", 4, True):
        raise call.refusal("torch does not say in which order it gives them; leave out `sorted=False`")
    axis, size = _one_axis(call, call.get("dim", 2, -1))
    places = range(size - 1, -1, -1) if call.get("largest", 3, True) else range(size)
    return _from_sorted(call, axis, list(places[: int(call.args[1])]), keep=True)


def kthvalue(call: Call) -> Value:
    """The k-th smallest entry along an axis."""
    axis, _ = _one_axis(call, call.get("dim", 2, -1))
    return _from_sorted(call, axis, [int(call.args[1]) - 1], keep=call.get("keepdim", 3, False))


def median(call: Call) -> Value:
    """The median along an axis, of two the smaller."""
    axis, size = _one_axis(call, call.get("dim", 1))
    return _from_sorted(call, axis, [(size - 1) // 2], keep=call.get("keepdim", 2, False))


def _one_axis(call: Call, given: Value) -> tuple[int, int]:
    """The axis of a sample that is given, and its size."""
    given = given[0] if isinstance(given, list | tuple) and len(given) == 1 else given
    if not isinstance(given, int):
        raise call.refusal("it mixes the samples of a batch, or goes over several axes")
    axis = sample_axis(call, given)
    return axis, call.view().shape[axis]


def _from_sorted(call: Call, axis: int, places: list[int], *, keep: bool) -> Value:
    """Entries of the sorted axis, which may be kept where only one is left."""
    ordered = _sorted(call, call.view(), axis)
    result = call.trace.call(aten.index_select.default, ordered, axis, torch.tensor(places))
    if not keep:
        result = call.trace.call(aten.squeeze.dim, result, axis)
    if isinstance(call.zero, list | tuple):
        return [result, Unusable(call.zero[1], f"the position of a {call.operation}, which is not continuous")]
    return result


def running(call: Call) -> Value:
    """Maxima, minima or log-sums of an axis up to each place: each moves by no more than the largest change before it.

    So ‖δy‖² ≤ Σ_k max_{j ≤ k} δx_j² ≤ n ‖δx‖², and a first entry that is the largest reaches it.
    """
    size = _one_axis(call, call.args[1])[1]
    result = call.zero[0] if isinstance(call.zero, list | tuple) else call.zero
    terms = 0 if result is not call.zero else 16 * size + 64
    function = Function(call.operation, round_up(math.sqrt(size)), terms=terms)
    found = call.trace.overlapping(function, [call.view()], result)
    if isinstance(call.zero, list | tuple):
        return [found, Unusable(call.zero[1], f"the position of a {call.operation}, which is not continuous")]
    return found


def extremum(call: Call) -> Value:
    """The larger or smaller of two; both of them together are a sort of the pair, of constant 1."""
    largest = call.operation in ("maximum", "max", "fmax")
    sides = call.args[:2]
    if not all(isinstance(side, View) for side in sides):
        if any(isinstance(side, Squares) for side in sides):
            raise call.refusal("it cuts a sum of squares before its root")
        view = sides[0] if isinstance(sides[0], View) else sides[1]
        constant = sides[1] if view is sides[0] else sides[0]
        call.constant(constant, "bound")
        return call.trace.pointwise(
            Function(call.operation, 1.0, slack=moved_bounds(call, [constant]), lowest=0.0), view, call.zero
        )
    left, right = (call.trace.spread(side, call.zero) for side in sides)
    pair = _pair(call, left, right)
    position = torch.tensor([1 if largest else 0])
    flat = call.trace.call(aten.index_select.default, pair, 1, position)
    return call.trace.call(aten.reshape.default, flat, list(call.zero.shape))


def _pair(call: Call, left: View, right: View) -> View:
    """(min, max) of two views, (BATCH, 2, size)."""
    for signal in call.trace.signals:
        if signal.operation == "maxmin":
            a, b = signal.inputs
            if (a.same_as(left) and b.same_as(right)) or (a.same_as(right) and b.same_as(left)):
                return signal.whole
    low, high = torch.minimum(left.zero, right.zero), torch.maximum(left.zero, right.zero)
    zero = torch.stack((low.reshape(BATCH, -1), high.reshape(BATCH, -1)), dim=1)
    pairs = Function("maxmin", 1.0, groups=lambda: torch.arange(2 * left.size).reshape(2, -1).T)
    return call.trace.nonlinear(pairs, [left, right], zero)

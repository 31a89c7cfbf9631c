"""Rules for activations: functions of one entry, and sorts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from robench.lipschitz.norms.rounding import EXACT, Growth, Slack, vector_norm_upper
from robench.lipschitz.trace.nonlinear import Function
from robench.lipschitz.trace.signals import BATCH, Signal, View
from robench.lipschitz.trace.trace import Call
from robench.lipschitz.trace.values import SignOf, Squares, Unusable, Value, concrete, depends
from robench.numerics import round_up

aten = torch.ops.aten

SELECTING = 0
"""Terms of an operation that rounds nothing."""
COMPUTING = 64
"""Terms of an operation with elementary functions: library functions err by a few units in the last place."""


SIXTH = max(1 / 6, float(torch.tensor(1 / 6, dtype=torch.float32)))
"""Slope of a Hardsigmoid: kernels of torch multiply by a 1/6 that was rounded to float32, in float64 too."""


def _slope(name: str) -> Callable[[Call], float]:
    slopes: dict[str, Callable[[Call], float]] = {
        "elu": lambda call: _elu(float(call.get("alpha", 1, 1)), float(call.get("scale", 2, 1))),
        "selu": lambda call: 1.7581,
        "leaky_relu": lambda call: max(1.0, abs(float(call.get("negative_slope", 1, 0.01)))),
        "gelu": lambda call: 1.13,
        "silu": lambda call: 1.1,
        "mish": lambda call: 1.09,
        "sigmoid": lambda call: 0.25,
        "hardsigmoid": lambda call: SIXTH,
        "hardswish": lambda call: 1.5,
        "erf": lambda call: 1.1284,
    }
    return slopes.get(name, lambda call: 1.0)


def _elu(alpha: float, scale: float) -> float:
    return round_up(abs(scale) * max(1.0, abs(alpha)))


def piecewise(call: Call) -> Value:
    """Piecewise linear functions."""
    if isinstance(call.args[0], Squares):
        if call.operation in ("abs", "relu"):
            return call.args[0]  # they are not negative
        raise call.refusal("it cuts a sum of squares before its root")
    if any(depends(value) for value in (*call.args[1:], *call.kwargs.values())):
        return clamp_by_signal(call)
    terms = 4 if call.operation in ("leaky_relu", "softshrink") else SELECTING
    view = call.view()
    slack = moved_bounds(call, (*call.args[1:], *call.kwargs.values()))
    slope = _slope(call.operation)(call)
    twin = _twin(call, view) if call.operation == "relu" else None
    function = Function(call.operation, slope, terms=terms, slack=slack, twin=twin)
    return call.trace.pointwise(function, view, call.zero)


def moved_bounds(call: Call, bounds: Iterable[Value]) -> Slack:
    """Of a function that is cut off at constants: no entry changes by more than they do."""
    gaps = [float(call.gap(bound).max()) for bound in bounds if bound is not None]
    largest, size = max(gaps, default=0.0), math.prod(call.zero.shape) // BATCH
    return Slack(constants=Growth(0.0, round_up(largest * math.sqrt(size), 2))) if largest else EXACT


def _twin(call: Call, view: View) -> Signal | None:
    """The signal relu(v), if the view is −v."""
    negation = view.signal
    if negation.operation != "negation" or not view.whole:
        return None
    for signal in call.trace.signals:
        if signal.operation == "relu" and signal.inputs[0].same_as(negation.inputs[0]):
            return signal
    return None


def clamp_by_signal(call: Call) -> Value:
    """A clamp whose bounds depend on the input."""
    raise call.refusal("its bounds depend on the input; write torch.maximum or torch.minimum")


def smooth(call: Call) -> Value:
    """Functions of one entry with a known largest slope."""
    name, view = call.operation, call.view()
    if name == "elu" and float(call.get("input_scale", 3, 1)) != 1.0:
        raise call.refusal("its input scale is not 1")
    if name == "celu" and float(call.get("alpha", 1, 1)) <= 0:
        raise call.refusal("its alpha is not above 0: it grows without bound")
    error, slack = 0.0, EXACT
    if name == "softplus":  # torch replaces it by the identity behind a threshold
        beta, threshold = float(call.get("beta", 1, 1)), float(call.get("threshold", 2, 20))
        if beta <= 0 or threshold < 10:
            raise call.refusal("its beta or threshold is too small: it jumps at the threshold")
        error = 1.01 * math.exp(-threshold) / beta * math.sqrt(view.size)
        slack = Slack(underflow=Growth(0.0, round_up(2 * math.sqrt(view.size) / beta, 3)))
    several = isinstance(call.zero, list | tuple)
    zero: Tensor = call.zero[0] if several else call.zero
    absolute_error = round_up(error) if error else 0.0
    function = Function(name, _slope(name)(call), terms=COMPUTING, absolute_error=absolute_error, slack=slack)
    result = call.trace.pointwise(function, view, zero)
    return [result, Unusable(call.zero[1], "a buffer")] if several else result


def prelu(call: Call) -> Value:
    """Leaky ReLU with a slope for each channel."""
    weight = call.constant(call.args[1], "weight")
    slope = max(1.0, float(weight.abs().max()))
    slack = Slack(constants=Growth(float(call.gap(call.args[1]).max()), 0.0))
    return call.trace.pointwise(Function("prelu", slope, terms=4, slack=slack), call.view(), call.zero)


def randomized_relu(call: Call) -> Value:
    """Leaky ReLU with the mean of its two slopes, in evaluation mode; random in training mode, which is refused."""
    first = 2 if call.operation == "rrelu_with_noise" else 1
    if call.get("training", first + 2, False):
        raise call.refusal("it is random in training mode; call `model.eval()` first")
    slope = abs(float(call.get("lower", first, 0.125)) + float(call.get("upper", first + 1, 1 / 3))) / 2
    return call.trace.nonlinear(Function("rrelu", max(1.0, round_up(slope, 2)), terms=4), [call.view()], call.zero)


def threshold(call: Call) -> Value:
    """Each x above a threshold, else a value: continuous only if they are equal."""
    if float(call.args[1]) != float(call.args[2]):
        raise call.refusal("it jumps at the threshold")
    return call.trace.pointwise(
        Function("threshold", 1.0, slack=moved_bounds(call, call.args[1:2])), call.view(), call.zero
    )


def softmax(call: Call) -> Value:
    """Softmax along an axis of a sample: its Jacobian diag(p) − p pᵀ has norm at most 1/2."""
    size = call.zero.shape[_axis(call, call.args[1])]
    return call.trace.nonlinear(Function("softmax", 0.5, terms=COMPUTING + 4 * size), [call.view()], call.zero)


def log_softmax(call: Call) -> Value:
    """Its Jacobian I − 1 pᵀ has norm at most 1 + √size."""
    size = call.zero.shape[_axis(call, call.args[1])]
    slope = round_up(1 + math.sqrt(size))
    return call.trace.nonlinear(Function("log_softmax", slope, terms=COMPUTING + 4 * size), [call.view()], call.zero)


def logsumexp(call: Call) -> Value:
    """Its gradient is a probability vector."""
    axes = call.args[1] if isinstance(call.args[1], list | tuple) else [call.args[1]]
    size = math.prod(call.args[0].zero.shape[_axis(call, axis)] for axis in axes)
    return call.trace.nonlinear(Function("logsumexp", 1.0, terms=COMPUTING + 4 * size), [call.view()], call.zero)


def _axis(call: Call, axis: int) -> int:
    """A non-negative axis of the first argument, not the batch's."""
    rank = len(call.args[0].zero.shape)
    if axis % rank == 0:
        raise call.refusal("it mixes the samples of a batch")
    return axis % rank


def sort(call: Call) -> Value:
    """Values sorted along an axis; the order itself has no bound."""
    dim, descending = call.get("dim", 1, -1), call.get("descending", 2, False)
    if call.kwargs.get("stable") is not None or isinstance(dim, bool):  # sort.stable(self, *, stable, dim, descending)
        dim, descending = call.kwargs.get("dim", -1), call.kwargs.get("descending", False)
    axis = _axis(call, dim)
    ordered = _sorted(call, call.view(), axis)
    if descending:
        ordered = call.trace.call(aten.flip.default, ordered, [axis])
    return [ordered, Unusable(call.zero[1], "the order of a sort, which is not continuous")]


def _sorted(call: Call, view: View, axis: int) -> View:
    """The view sorted along an axis, ascending; one signal however often it is asked for."""
    for known, known_axis, result in call.trace.sorts:
        if known_axis == axis and known.same_as(view):
            return result
    result = call.trace.nonlinear(Function("sort", 1.0), [view], view.zero.sort(axis).values)
    call.trace.sorts.append((view, axis, result))
    return result


def ordered_along(call: Call) -> Value:
    """Entries of the sorted axis: largest, smallest, k largest, k-th, median."""
    operation = call.operation
    if operation in ("max", "min") and len(call.args) > 1 and depends(call.args[1]):
        return extremum(call)
    if operation in ("topk", "kthvalue"):
        count, axis = int(call.args[1]), call.get("dim", 2, -1)
    else:
        count, axis = 1, call.get("dim", 1)
        axis = axis[0] if isinstance(axis, list | tuple) and len(axis) == 1 else axis
    if not isinstance(axis, int):
        raise call.refusal("it mixes the samples of a batch, or goes over several axes")
    axis = _axis(call, axis)
    view = call.view()
    ordered = _sorted(call, view, axis)
    size = view.shape[axis]
    keep = bool(call.get("keepdim", 3 if operation == "kthvalue" else 2, False)) or operation == "topk"
    if operation == "topk" and (not call.get("largest", 3, True) or not call.get("sorted", 4, True)):
        raise call.refusal("it is a topk of the smallest, or in no order")
    positions = {
        "topk": list(range(size - 1, size - 1 - count, -1)),
        "kthvalue": [count - 1],
        "median": [(size - 1) // 2],
        "amin": [0],
        "min": [0],
    }.get(operation, [size - 1])
    result = call.trace.call(aten.index_select.default, ordered, axis, torch.tensor(positions))
    if not keep:
        result = call.trace.call(aten.squeeze.dim, result, axis)
    if isinstance(call.zero, list | tuple):
        return [result, Unusable(call.zero[1], f"the position of a {operation}, which is not continuous")]
    return result


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
            Function(call.operation, 1.0, slack=moved_bounds(call, [constant])), view, call.zero
        )
    left, right = (call.trace.spread(side, call.zero) for side in sides)
    pair = _pair(call, left, right)
    position = torch.tensor([1 if largest else 0])
    flat = call.trace.call(aten.index_select.default, pair, 1, position)
    return call.trace.call(aten.reshape.default, flat, list(call.zero.shape))


def _pair(call: Call, left: View, right: View) -> View:
    """(min, max) of two views, (BATCH, 2, size)."""
    for a, b, result in call.trace.pairs:
        if (a.same_as(left) and b.same_as(right)) or (a.same_as(right) and b.same_as(left)):
            return result
    low, high = torch.minimum(left.zero, right.zero), torch.maximum(left.zero, right.zero)
    zero = torch.stack((low.reshape(BATCH, -1), high.reshape(BATCH, -1)), dim=1)
    result = call.trace.nonlinear(Function("maxmin", 1.0), [left, right], zero)
    call.trace.pairs.append((left, right, result))
    return result


def power(call: Call) -> Value:
    """Squares, and the root of sums of squares."""
    value, exponent = call.args[:2]
    if depends(exponent):
        raise call.refusal("its exponent depends on the input")
    if isinstance(value, View) and float(exponent) == 2.0:
        return Squares(((1.0, value),), call.zero, 2)
    if isinstance(value, Squares) and float(exponent) == 0.5:
        return root(call)
    if isinstance(value, View) and float(exponent) == 1.0:
        return value
    raise call.refusal(f"a power of {exponent} grows without bound")


def square(call: Call) -> Value:
    """x², which waits for its root."""
    return Squares(((1.0, call.view()),), call.zero, 1)


def sign(call: Call) -> Value:
    """The sign of sums of squares, which is harmless; of anything else it jumps."""
    if isinstance(call.args[0], Squares):
        return SignOf(call.args[0], call.zero)
    raise call.refusal("it jumps at 0")


def root(call: Call) -> Value:
    """√(Σ N view²), a seminorm: its constant is √(largest column sum of N) on each part."""
    squares = call.args[0]
    if not isinstance(squares, Squares):
        raise call.refusal("the root of something other than a sum of squares has no bounded slope at 0")
    if bool((concrete(squares) < 0).any()):
        raise call.refusal("it takes the root of a negative number")
    slope = round_up(math.sqrt(max(columns for columns, _ in squares.parts)), 2)
    if all(columns == 1.0 for columns, _ in squares.parts):
        slope = 1.0
    views = [view for _, view in squares.parts]
    off, entries = squares.relative, math.prod(call.zero.shape) // BATCH
    moved = vector_norm_upper(call.zero[: call.zero.shape[0] // BATCH]) * off
    constants = Growth(round_up(slope * off), round_up(moved + squares.constant * math.sqrt(entries), 3))
    slack = Slack(constants=constants, under_root=squares.underflow)
    return call.trace.overlapping(Function("l2 norm", slope, terms=squares.terms + 8, slack=slack), views, call.zero)


def vector_norm(call: Call) -> Value:
    """The L2 norm along axes of a sample."""
    order = call.get("ord" if call.operation == "linalg_vector_norm" else "p", 1, 2)
    axes = call.get("dim", 2)
    if order not in (2, 2.0, None, "fro") or axes is None:
        raise call.refusal("only the L2 norm along axes of a sample has a rule")
    view = call.view()
    axes = [axes] if isinstance(axes, int) else list(axes) or list(range(len(view.shape)))
    count = math.prod(view.shape[_axis(call, axis)] for axis in axes)
    slack = Slack(under_root=2.0 * count + 2)
    return call.trace.nonlinear(Function("l2 norm", 1.0, terms=count + 8, slack=slack), [view], call.zero)

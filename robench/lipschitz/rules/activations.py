"""Rules for activations: functions of one entry, and softmax."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from robench.lipschitz.norms.rounding import EXACT, NOTHING, Growth, Slack
from robench.lipschitz.rules.axes import sample_axis
from robench.lipschitz.rules.constants import moved_bounds, per_sample
from robench.lipschitz.trace.nonlinear import Function
from robench.lipschitz.trace.signals import BATCH, Signal, View
from robench.lipschitz.trace.trace import Call
from robench.lipschitz.trace.values import Squares, Unusable, Value, depends
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
        "hardsigmoid_gate": lambda call: 1.5,
    }
    return slopes.get(name, lambda call: 1.0)


RISING = frozenset((
    "relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max", "softshrink", "selu", "celu", "sigmoid", "tanh",
    "hardsigmoid", "log_sigmoid", "log_sigmoid_forward", "softplus", "atan", "erf", "asinh",
))  # fmt: skip
"""Functions that never fall."""


def _lowest(call: Call) -> float | None:
    """The least slope of a function of each entry, where it is above the largest one's opposite."""
    if call.operation == "leaky_relu":
        return min(1.0, float(call.get("negative_slope", 1, 0.01)))
    if call.operation == "elu":
        rises = float(call.get("alpha", 1, 1)) >= 0 and float(call.get("scale", 2, 1)) >= 0
        return 0.0 if rises else None
    return 0.0 if call.operation in RISING else None


def _elu(alpha: float, scale: float) -> float:
    return round_up(abs(scale) * max(1.0, abs(alpha)))


def piecewise(call: Call) -> Value:
    """Piecewise linear functions."""
    if isinstance(call.args[0], Squares):
        if call.operation in ("abs", "relu"):
            return call.args[0]  # they are not negative
        raise call.refusal("it cuts a sum of squares before its root")
    if any(depends(value) for value in (*call.args[1:], *call.kwargs.values())):
        raise call.refusal("its bounds depend on the input; write torch.maximum or torch.minimum")
    terms = 4 if call.operation in ("leaky_relu", "softshrink") else SELECTING
    view = call.view()
    slack = moved_bounds(call, (*call.args[1:], *call.kwargs.values()))
    slope = _slope(call.operation)(call)
    positive = _positive_part(call, view) if call.operation == "relu" else None
    function = Function(
        call.operation,
        slope,
        terms=terms,
        slack=slack,
        positive=positive,
        lowest=_lowest(call),
        below=_below(call),
    )
    return call.trace.pointwise(function, view, call.zero)


def _below(call: Call) -> float | None:
    """The slope below 0 of what is the identity above it."""
    match call.operation:
        case "relu":
            return 0.0
        case "abs":
            return -1.0
        case "leaky_relu":
            return float(call.get("negative_slope", 1, 0.01))
        case "clamp" | "clamp_min":
            least, most = call.get("min", 1), call.get("max", 2)
            return 0.0 if isinstance(least, int | float) and least == 0 and most is None else None
    return None


def _positive_part(call: Call, view: View) -> Signal | None:
    """The signal relu(v), if the view is −v."""
    negation = view.signal
    if negation.operation != "negation" or not view.whole:
        return None
    for signal in call.trace.signals:
        if signal.operation == "relu" and signal.inputs[0].same_as(negation.inputs[0]):
            return signal
    return None


def smooth(call: Call) -> Value:
    """Functions of one entry with a known largest slope."""
    name, view = call.operation, call.view()
    if name == "elu" and float(call.get("input_scale", 3, 1)) != 1.0:
        raise call.refusal("its input scale is not 1")
    if name == "celu" and float(call.get("alpha", 1, 1)) <= 0:
        raise call.refusal("its alpha is not above 0: it grows without bound")
    error, slack = 0.0, EXACT
    if (
        name == "softplus" and call.target is aten.softplus.default
    ):  # torch replaces it by the identity behind a threshold
        beta, threshold = float(call.get("beta", 1, 1)), float(call.get("threshold", 2, 20))
        if beta <= 0 or threshold < 10:
            raise call.refusal("its beta or threshold is too small: it jumps at the threshold")
        error = 1.01 * math.exp(-threshold) / beta * math.sqrt(view.size)
        slack = Slack(underflow=Growth(0.0, round_up(2 * math.sqrt(view.size) / beta, 3)))
    several = isinstance(call.zero, list | tuple)
    zero: Tensor = call.zero[0] if several else call.zero
    absolute_error = round_up(error) if error else 0.0
    function = Function(
        name, _slope(name)(call), terms=COMPUTING, absolute_error=absolute_error, slack=slack, lowest=_lowest(call)
    )
    result = call.trace.pointwise(function, view, zero)
    return [result, Unusable(call.zero[1], "a buffer")] if several else result


def prelu(call: Call) -> Value:
    """Leaky ReLU with a slope for each channel."""
    weight = call.constant(call.args[1], "weight")
    slope = max(1.0, float(weight.abs().max()))
    slack = Slack(constants=Growth(float(call.gap(call.args[1]).max()), 0.0))
    lowest = min(1.0, float(weight.min()))
    wide = weight.reshape(1, -1, *(1 for _ in call.zero.shape[2:])) if weight.numel() > 1 else weight.reshape(())
    below = per_sample(call, wide, "weight")
    function = Function("prelu", slope, terms=4, slack=slack, lowest=lowest, below=below)
    return call.trace.pointwise(function, call.view(), call.zero)


def randomized_relu(call: Call) -> Value:
    """Leaky ReLU with the mean of its two slopes, in evaluation mode; random in training mode, which is refused."""
    first = 2 if call.operation == "rrelu_with_noise" else 1
    if call.get("training", first + 2, False):
        raise call.refusal("it is random in training mode; call `model.eval()` first")
    slope = abs(float(call.get("lower", first, 0.125)) + float(call.get("upper", first + 1, 1 / 3))) / 2
    return call.trace.nonlinear(Function("rrelu", max(1.0, round_up(slope, 2)), terms=4), [call.view()], call.zero)


GATES = {"swish": (1.1, 0.45), "swish_rates": (1.1, 0.45), "erf_gate": (1.13, 0.21), "hard_gate": (1.5, 0.25)}
"""Largest values of |(t·g(t))'| and |t² g'(t)|, rounded up."""


def gate(call: Call) -> Value:
    """x·g(k x), of which the slope is that of t·g(t) for any rate k: SiLU, GELU, hardswish."""
    view = call.view()
    rates, narrow = call.constant(call.args[1], "rate"), call.float32(call.args[1])
    per_sample(call, rates, "rate")
    name = call.operation
    slope, bend = GATES[name]
    slack, gap = EXACT, float(call.gap(call.args[1]).max())
    if gap:  # |d/dk x g(k x)| = |t² g'(t)| / k² is at most bend / k²
        least = float(torch.minimum(rates.abs(), narrow.abs()).min())
        if least < 2.0**-100:
            call.trace.refuse_float32("a rate is next to 0 there")
        else:
            moved = round_up(bend * gap / least**2 * math.sqrt(math.prod(call.zero.shape) / BATCH), 6)
            slack = Slack(constants=Growth(0.0, moved))
    return call.trace.pointwise(Function(name, slope, terms=COMPUTING, slack=slack), view, call.zero)


def written_elu(call: Call) -> Value:
    """s·x above 0, f·(exp(x) − 1) below: slope max(s, |f|)."""
    view, (scale, fall) = call.view(), (float(value) for value in call.args[1:3])
    moved = [float(call.gap(value)) for value in call.args[1:3]]
    root = math.sqrt(view.size)
    slack = Slack(
        constants=Growth(max(moved), 0.0) if any(moved) else NOTHING,
        units=Growth(0.0, round_up(4 * abs(fall) * root, 4)),  # exp(x) − 1 next to 0
    )
    lowest = min(0.0, scale, fall)
    function = Function("elu", max(abs(scale), abs(fall)), terms=COMPUTING, slack=slack, lowest=lowest)
    return call.trace.pointwise(function, view, call.zero)


def reflection(call: Call) -> Value:
    """(x, y), or beyond the line n·z = 0 its reflection z − 2(n·z)n, with n = (sine, −cosine) of length 1.

    Both are isometries that agree on the line. The constants are near those of a reflection; 256 roundings cover what
    they are off by, and which side of the line a point next to it is taken to be on.
    """
    x, y = call.view(0), call.view(1)
    values = [call.constant(value, "angle") for value in call.args[2:6]]
    sine, cosine, across, along = values
    off = [sine.square() + cosine.square() - 1, across - (1 - 2 * sine.square()), along - 2 * sine * cosine]
    if any(float(each.abs().max()) > 2.0**-48 for each in off):
        raise call.refusal("its pieces are no reflection that agrees with the identity on the line between them")
    shape = (x.zero + sine + cosine + across + along).shape
    if x.shape != y.shape or tuple(shape) != x.shape:
        raise call.refusal("it repeats its input")
    for value in values:
        rows = value.expand(shape).reshape(BATCH, -1)
        if not torch.equal(rows[0], rows[1]):
            raise call.refusal("its angle differs from sample to sample")
    gap = round_up(4 * sum(float(call.gap(value).max()) for value in call.args[2:6]), 6)
    slack = Slack(constants=Growth(gap, 0.0)) if gap else EXACT
    return call.trace.nonlinear(Function("householder", 1.0, terms=256, slack=slack), [x, y], call.zero)


def leaky(call: Call) -> Value:
    """The value x above 0, a·x below, with a constant a for each entry."""
    slopes = call.constant(call.args[1], "slope")
    below = per_sample(call, slopes, "slope")
    slack = Slack(constants=Growth(float(call.gap(call.args[1]).max()), 0.0))
    lowest, steepest = min(1.0, float(slopes.min())), max(1.0, float(slopes.abs().max()))
    function = Function("leaky_relu", steepest, terms=4, slack=slack, lowest=lowest, below=below)
    return call.trace.pointwise(function, call.view(), call.zero)


def threshold(call: Call) -> Value:
    """Each x above a threshold, else a value: continuous only if they are equal."""
    if float(call.args[1]) != float(call.args[2]):
        raise call.refusal("it jumps at the threshold")
    return call.trace.pointwise(
        Function("threshold", 1.0, slack=moved_bounds(call, call.args[1:2]), lowest=0.0), call.view(), call.zero
    )


def softmax(call: Call) -> Value:
    """Softmax along an axis of a sample: its Jacobian diag(p) − p pᵀ has norm at most 1/2."""
    size = call.zero.shape[sample_axis(call, call.args[1])]
    return call.trace.nonlinear(Function("softmax", 0.5, terms=COMPUTING + 4 * size), [call.view()], call.zero)


def log_softmax(call: Call) -> Value:
    """Its Jacobian I − 1 pᵀ has a norm that is convex in p, so at most that of a corner.

    There p = e_j, and its square is the Laplacian of a star of `size` nodes: √size.
    """
    size = call.zero.shape[sample_axis(call, call.args[1])]
    slope = round_up(math.sqrt(size))
    return call.trace.nonlinear(Function("log_softmax", slope, terms=COMPUTING + 4 * size), [call.view()], call.zero)


def logsumexp(call: Call) -> Value:
    """Its gradient is a probability vector."""
    axes = call.args[1] if isinstance(call.args[1], list | tuple) else [call.args[1]]
    size = math.prod(call.args[0].zero.shape[sample_axis(call, axis)] for axis in axes)
    return call.trace.nonlinear(Function("logsumexp", 1.0, terms=COMPUTING + 4 * size), [call.view()], call.zero)


def logaddexp(call: Call) -> Value:
    """The function log(eˣ + eʸ), entry by entry: its gradient (p, 1 − p) has norm at most 1."""
    if depends(call.args[0]) and depends(call.args[1]):
        sides = [call.trace.spread(call.view(place), call.zero) for place in (0, 1)]
        return call.trace.nonlinear(Function("logaddexp", 1.0, terms=COMPUTING), sides, call.zero)
    place = 0 if depends(call.args[0]) else 1
    constant = call.args[1 - place]
    per_sample(call, call.constant(constant, "other side"), "other side")
    function = Function("logaddexp", 1.0, terms=COMPUTING, slack=moved_bounds(call, [constant]))
    return call.trace.pointwise(function, call.view(place), call.zero)

"""Rules for sums of squares, which wait for their root; by itself a square grows without bound."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from robench.lipschitz.norms.rounding import MOMENTS, UNITS, Growth, Slack, rounding, vector_norm_upper
from robench.lipschitz.rules.axes import sample_axis
from robench.lipschitz.trace.nonlinear import Function
from robench.lipschitz.trace.signals import BATCH, View
from robench.lipschitz.trace.trace import Call
from robench.lipschitz.trace.values import Part, SignOf, Squares, Value, apart, concrete, depends
from robench.numerics import round_up


def power(call: Call) -> Value:
    """Squares, and the root of sums of squares."""
    value, exponent = call.args[:2]
    if depends(exponent):
        raise call.refusal("its exponent depends on the input")
    if isinstance(value, View) and float(exponent) == 2.0:
        return Squares((Part(1.0, value),), call.zero, 2)
    if isinstance(value, Squares) and float(exponent) == 0.5:
        return root(call)
    if isinstance(value, View) and float(exponent) == 1.0:
        return value
    raise call.refusal(f"a power of {exponent} grows without bound")


def square(call: Call) -> Value:
    """x², which waits for its root."""
    return Squares((Part(1.0, call.view()),), call.zero, 1)


def product(call: Call, left: Value, right: Value) -> Value:
    """A product of two values that depend on the input: only a square, or sums of squares by their sign.

    Args:
        call: the operation.
        left: one of them.
        right: the other.

    Raises:
        BoundError: it is another product.
    """
    if call.operation == "mul":
        if isinstance(left, View) and isinstance(right, View) and left.same_as(right):
            return Squares((Part(1.0, left),), call.zero, 1)
        for sign, squares in ((left, right), (right, left)):
            if isinstance(sign, SignOf) and isinstance(squares, Squares) and sign.squares is squares:
                return squares  # they are not negative, so their sign changes nothing
    raise call.refusal("both operands depend on the input, so it grows without bound")


def add_squares(call: Call, sides: tuple[Value, Value], weights: tuple[float, float], gap: float) -> Squares:
    """A weighted sum of sums of squares, or of one and a constant.

    Args:
        call: the operation.
        sides: what is added.
        weights: of the two.
        gap: how far a weight that is not 1 is off in float32.
    """
    parts: list[Part] = []
    terms, relative, constant, underflow = 1, 0.0, 0.0, 4.0
    for side, weight in zip(sides, weights, strict=True):
        if isinstance(side, Squares) and weight > 0 and side.zero.shape == call.zero.shape:
            scaled = side.weighted(call.zero, weight, weight, 1, 2.0**-23 + gap / weight if weight != 1.0 else 0.0)
            parts.extend(scaled.parts)
            terms += scaled.terms
            relative = max(relative, scaled.relative)
            constant, underflow = round_up(math.hypot(constant, scaled.constant)), underflow + scaled.underflow
        elif depends(side) or bool((call.constant(side, "constant") * weight < 0).any()):
            raise call.refusal("it makes a sum of squares negative, or adds something else to it")
        else:
            own, narrow = (value * weight for value in (call.constant(side, "constant"), call.float32(side)))
            moved = float(apart(own.sqrt(), narrow.clamp_min(0.0).sqrt()).max())
            constant = round_up(
                math.hypot(constant, moved + (2.0**-23 + (gap / abs(weight) if gap else 0.0)) * float(own.max().sqrt()))
            )
    return Squares(tuple(parts), call.zero, terms, relative, constant, underflow)


def scaled_squares(call: Call, value: Squares, factors: Tensor, gap: Tensor) -> Squares:
    """Sums of squares times factors ≥ 0.

    Args:
        call: the operation.
        value: the sums.
        factors: of one sample, flat, or a scalar.
        gap: how far they are off in float32.
    """
    if bool((gap[factors.expand(gap.shape) == 0] > 0).any()):
        call.trace.refuse_float32("a factor of a sum of squares is 0 in float64 and another number there")
    relative = torch.where(gap > 0, gap / factors, 0.0).nan_to_num(0.0, 0.0, 0.0)
    scale = round_up(float(factors.max()), 2)
    return value.weighted(call.zero, scale, scale, 2, float(relative.max()))


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
    slope = round_up(math.sqrt(max(part.columns for part in squares.parts)), 2)
    if all(part.columns == 1.0 for part in squares.parts):
        slope = 1.0
    views = [part.view for part in squares.parts]
    off, entries = squares.relative, math.prod(call.zero.shape) // BATCH
    moved = vector_norm_upper(call.zero[: call.zero.shape[0] // BATCH]) * off
    constants = Growth(round_up(slope * off), round_up(moved + squares.constant * math.sqrt(entries), 3))
    slack = Slack(constants=constants, under_root=squares.underflow)
    return call.trace.overlapping(Function("l2 norm", slope, terms=squares.terms + 8, slack=slack), views, call.zero)


def deviation(call: Call) -> Value:
    """The standard deviation along axes: ‖x − mean(x)‖ / √(n − c), and taking the mean off is a projection.

    The variance may be computed by any formula that errs by no more than `MOMENTS` γ_n of the mean square, and
    its root by √ of that.
    """
    view, axes = call.view(), call.get("dim", 1)
    if axes is None or axes == [] or isinstance(axes, bool):  # std.default(self, unbiased) goes over the batch
        raise call.refusal("it mixes the samples of a batch")
    unbiased = 1.0 if call.kwargs.get("correction") is None else call.kwargs["correction"]
    correction = float(call.get("unbiased", 2, unbiased))
    axes = [axes] if isinstance(axes, int) else list(axes)
    count = math.prod(view.shape[sample_axis(call, axis)] for axis in axes)
    if not count > correction:
        raise call.refusal("it divides by 0")
    slope = round_up(1 / math.sqrt(count - correction), 4)
    root = math.sqrt(MOMENTS * rounding(count + 16, UNITS["float64"])) / UNITS["float64"]
    slack = Slack(units=Growth(round_up(root * slope, 8), 0.0), under_root=2.0 * count + 8)
    call.trace.refuse_float32("a variance may be computed there as a difference of large squares")
    return call.trace.nonlinear(Function("deviation", slope, terms=count + 16, slack=slack), [view], call.zero)


def vector_norm(call: Call) -> Value:
    """The L2 norm along axes of a sample."""
    order = call.get("ord" if call.operation == "linalg_vector_norm" else "p", 1, 2)
    axes = call.get("dim", 2)
    if order not in (1, 2, None, "fro", math.inf) or axes is None:
        raise call.refusal("only the L1, the L2 and the largest norm along axes of a sample have a rule")
    view = call.view()
    axes = [axes] if isinstance(axes, int) else list(axes) or list(range(len(view.shape)))
    count = math.prod(view.shape[sample_axis(call, axis)] for axis in axes)
    if order == math.inf:
        return call.trace.nonlinear(Function("largest norm", 1.0), [view], call.zero)
    if order == 1:  # |Σ|a| − Σ|b|| ≤ Σ|a − b| ≤ √count ‖a − b‖
        return call.trace.nonlinear(Function("l1 norm", round_up(math.sqrt(count)), terms=count), [view], call.zero)
    slack = Slack(under_root=2.0 * count + 2)
    return call.trace.nonlinear(Function("l2 norm", 1.0, terms=count + 8, slack=slack), [view], call.zero)


def distances(call: Call) -> Value:
    """Distances to constants, each of constant 1 (by L2), √coordinates (by L1): √(number of constants) times that.

    The L2 distance may be computed from ‖x‖² − 2 x·c + ‖c‖², which errs by γ (‖x‖ + ‖c‖)², and so its root by √γ.
    """
    place = 0 if depends(call.args[0]) else 1
    view, order, mode = call.view(place), float(call.args[2]), call.get("compute_mode", 3)
    if depends(call.args[1 - place]):
        raise call.refusal("both of its arguments depend on the input")
    if order not in (1.0, 2.0, math.inf):
        raise call.refusal("only distances by L1, L2 and the largest coordinate have a rule")
    constants = call.constant(call.args[1 - place], "constants")
    if view.shape[0] != call.zero.shape[0] or (len(view.shape) == 2 and place == 1):
        raise call.refusal("it mixes the samples of a batch")
    if constants.dim() > 2 and not torch.equal(constants, constants[:1].expand(constants.shape)):
        raise call.refusal("its constants differ from sample to sample")
    count, side = constants.shape[-2], constants.shape[-1]
    slope = round_up(math.sqrt(count) * (math.sqrt(side) if order == 1.0 else 1.0), 3)
    size = vector_norm_upper(constants if constants.dim() == 2 else constants[0])
    moved = vector_norm_upper(call.gap(call.args[1 - place]))
    own = round_up(math.sqrt(side)) if order == 1.0 else 1.0
    slack = Slack(constants=Growth(0.0, round_up(moved * own * math.sqrt(view.size / side), 4)))
    if order == 2.0:
        slack = replace(slack, under_root=2.0 * side + 2)
        if mode != 2:
            root = round_up(math.sqrt(4.0 * (side + 8)) * 2.0**26.5, 4)
            whole = round_up(root * size * math.sqrt(view.size / side), 4)
            slack = replace(slack, units=Growth(round_up(root * math.sqrt(count), 3), whole))
            call.trace.refuse_float32("distances are roots of differences of large squares there")
    function = Function("distance", slope, terms=side + 8, slack=slack, each=own)
    return call.trace.overlapping(function, [view], call.zero)

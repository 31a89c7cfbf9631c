"""Rules for sums of squares, which wait for their root; by itself a square grows without bound."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robench.lipschitz.norms.rounding import Growth, Slack, vector_norm_upper
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


def vector_norm(call: Call) -> Value:
    """The L2 norm along axes of a sample."""
    order = call.get("ord" if call.operation == "linalg_vector_norm" else "p", 1, 2)
    axes = call.get("dim", 2)
    if order not in (2, 2.0, None, "fro") or axes is None:
        raise call.refusal("only the L2 norm along axes of a sample has a rule")
    view = call.view()
    axes = [axes] if isinstance(axes, int) else list(axes) or list(range(len(view.shape)))
    count = math.prod(view.shape[sample_axis(call, axis)] for axis in axes)
    slack = Slack(under_root=2.0 * count + 2)
    return call.trace.nonlinear(Function("l2 norm", 1.0, terms=count + 8, slack=slack), [view], call.zero)

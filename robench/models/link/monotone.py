"""Increasing functions at the end of a graph: which operation is one, and what it does to a threshold.

Two readings of a node (N, q). Of one output f, class 1 iff f > t: an increasing function of one number is inverted at
t, a decreasing one turns > into <. Of q ≥ 2 outputs, the class is the largest: a strictly increasing function of all
logits alike, and whatever is added to all of them or multiplies all of them by one positive number, changes no order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

from torch import Tensor, fx

from robench.models.link.operands import (
    COPIES,
    argument_of,
    constant_of,
    first_operand,
    is_positive,
    is_uniform,
    keeps_precision,
    meta_of,
    name_of,
    number_of,
    same_shape,
)

Scalar = Callable[[float], float]
ROUNDINGS = 2.0**-50
"""More than an inverse rounds, relative to what it is given and to what it gives: a few units of float64 each."""


class Step(NamedTuple):
    """An operation that was peeled off.

    Fields:
        name: of the operation; empty for one that only shifts, scales or copies.
        inner: the node it is applied to.
        value: for one output, the function; limits at ±inf included.
        inverse: for one output, t' with {g(u) > t} = {u > t'} ({u < t'} if decreasing); None if there is none.
        increasing: for one output.
        exact: whether t' (first) is the inverse of t (second) without any rounding.
        size: of numbers whose rounding moves t as well, such as an addend.
    """

    name: str
    inner: fx.Node
    value: Scalar = lambda u: u
    inverse: Callable[[float], float | None] = lambda t: t
    increasing: bool = True
    exact: Callable[[float, float], bool] = lambda at, t: True
    size: float = 0.0

    def carried(self, low: float, high: float) -> tuple[float, float] | None:
        """An interval that holds the inverse of each number from `low` to `high`; None if one has none."""
        if low == high:
            at = self.inverse(low)
            if at is not None and math.isfinite(at) and self.exact(at, low):
                return at, at
        ends = []
        for t, side in ((low, -1), (high, 1)):
            at = self.inverse(t + side * ROUNDINGS * (abs(t) + self.size))
            if at is None or not math.isfinite(at):
                return None
            ends.append(at)
        return min(ends) - ROUNDINGS * abs(min(ends)), max(ends) + ROUNDINGS * abs(max(ends))


def shared_step(node: fx.Node) -> Step | None:
    """The last operation before q ≥ 2 outputs, if it changes no order of them."""
    name = name_of(node)
    inner = first_operand(node)
    if inner is None:
        return None
    if name in COPIES:
        return _copied(node, inner)
    if name in ("softmax", "_softmax", "log_softmax", "_log_softmax"):
        axis = int(node.args[1])  # type: ignore[arg-type]
        return Step(name.strip("_"), inner) if axis in (1, -1) and keeps_precision(node, inner) else None
    if name in STRICT:
        defined = name != "log" or is_positive(inner)  # of a negative number it is NaN, which argmax takes first
        return Step(name, inner) if defined and same_shape(node, inner) else None
    if name in ("add", "sub"):
        return _shift(node, name)
    if name in ("mul", "div"):
        return _scaling(node, name)
    return None


def single_step(node: fx.Node) -> Step | None:
    """The last operation before one output, if it is a monotone function of one number."""
    name = name_of(node)
    inner = first_operand(node)
    if inner is None:
        return None
    if name in COPIES:
        return _copied(node, inner)
    if name in SMOOTH and same_shape(node, inner):
        value, inverse = SMOOTH[name]
        # at 0 these have values that are known: 1/2 and its logarithm, 0, and 1
        size = 1.0 if name == "log_sigmoid" else 0.0  # which is inverted by way of a number next to 1
        return Step(name, inner, value, inverse, exact=lambda at, t: at == 0.0 and value(at) == t, size=size)
    if name in ("clamp", "hardtanh", "relu6", "hardsigmoid"):
        return _piecewise(node, name, inner)
    if name in ("add", "sub", "rsub", "mul", "div", "neg"):
        return _affine(node, name)
    return None


STRICT = ("sigmoid", "tanh", "exp", "log", "log_sigmoid", "atan", "asinh", "erf")


def _logit(t: float) -> float | None:
    return math.log(t / (1 - t)) if 0 < t < 1 else None


def _sigmoid(u: float) -> float:
    return 1 / (1 + math.exp(-u)) if u > -700 else 0.0


def _log_sigmoid(u: float) -> float:
    return -math.log1p(math.exp(-u)) if u > -700 else u


SMOOTH: dict[str, tuple[Scalar, Callable[[float], float | None]]] = {
    "sigmoid": (_sigmoid, _logit),
    "log_sigmoid": (_log_sigmoid, lambda t: _logit(math.exp(t)) if t < 0 else None),
    "tanh": (math.tanh, lambda t: math.atanh(t) if -1 < t < 1 else None),
    "exp": (lambda u: math.exp(u) if u < 700 else math.inf, lambda t: math.log(t) if t > 0 else None),
    "log": (lambda u: math.log(u) if u > 0 else -math.inf, lambda t: math.exp(t) if t < 700 else None),
    "atan": (math.atan, lambda t: math.tan(t) if abs(t) < math.pi / 2 else None),
    "erf": (math.erf, lambda t: 0.0 if t == 0 else None),
}
"""Name to function and inverse: increasing, strictly and everywhere that they are defined."""


def _piecewise(node: fx.Node, name: str, inner: fx.Node) -> Step | None:
    """Flat below `low` and above `high`, a line between them: inverted where a threshold lies strictly between."""
    defaults = {"hardtanh": (-1.0, 1.0), "clamp": (None, None)}.get(name, (0.0, 6.0))
    low, high = (argument_of(node, k + 1, default) for k, default in enumerate(defaults))
    slope, shift = 1.0, 0.0
    if name == "hardsigmoid":
        low, high, slope, shift = 0.0, 1.0, 1 / 6, 0.5
    low, high = (-math.inf if low is None else low), (math.inf if high is None else high)
    if not (isinstance(low, int | float) and isinstance(high, int | float) and low < high):
        return None
    bottom, top = float(low), float(high)

    def value(u: float) -> float:
        return min(max(slope * u + shift, bottom), top)

    def inverse(t: float) -> float | None:
        return (t - shift) / slope if bottom < t < top else None

    if name == "hardsigmoid":  # kernels of torch multiply by a 1/6 that was rounded to float32, in float64 too
        step = Step(name, inner, value, inverse, exact=lambda at, t: at == 0.0, size=2.0**-24 / ROUNDINGS)
    else:
        step = Step(name, inner, value, inverse)
    return step if same_shape(node, inner) else None


def _affine(node: fx.Node, name: str) -> Step | None:
    """A u + b with numbers a ≠ 0 and b."""
    left, right = (node.args[0], None) if name == "neg" else node.args[:2]
    alpha = node.kwargs.get("alpha", 1)
    constants = [number_of(left), number_of(right) if name != "neg" else 0.0]
    varying = [k for k, constant in enumerate(constants) if constant is None]
    if len(varying) != 1 or not isinstance(alpha, int | float):
        return None
    position = varying[0]
    inner, c = (left, right)[position], constants[1 - position]
    if not isinstance(inner, fx.Node) or c is None or not math.isfinite(c) or not same_shape(node, inner):
        return None
    shift = Fraction(0)
    if name == "neg":
        a, b = -1.0, 0.0
        ratio = Fraction(-1)
    elif name in ("mul", "div"):
        if name == "div" and (position == 1 or c == 0 or argument_of(node, 2, None, "rounding_mode") is not None):
            return None
        a, b = (c if name == "mul" else 1 / c), 0.0
        ratio = Fraction(c) if name == "mul" else 1 / Fraction(c)
    else:
        factors = {"add": (1.0, float(alpha)), "sub": (1.0, -float(alpha)), "rsub": (-float(alpha), 1.0)}[name]
        a, b = factors[position], factors[1 - position] * c
        ratio, shift = Fraction(a), Fraction(factors[1 - position]) * Fraction(c)
    if a == 0 or not math.isfinite(a) or not math.isfinite(b):
        return None

    def exact(at: float, t: float) -> bool:
        return ratio * Fraction(at) + shift == Fraction(t)

    return Step("", inner, lambda u: a * u + b, lambda t: (t - b) / a, a > 0, exact, abs(b))


def _shift(node: fx.Node, name: str) -> Step | None:
    """The same number added to all logits, whatever it depends on."""
    left, right = node.args[:2]
    alpha = node.kwargs.get("alpha", 1)
    if is_uniform(right) and isinstance(left, fx.Node) and same_shape(node, left):
        return Step(_label(right, "shift of all logits"), left)
    if name == "add" and alpha == 1 and is_uniform(left) and isinstance(right, fx.Node) and same_shape(node, right):
        return Step(_label(left, "shift of all logits"), right)
    return None


def _scaling(node: fx.Node, name: str) -> Step | None:
    """All logits times, or over, the same positive number."""
    if node.kwargs.get("rounding_mode") is not None:
        return None
    pairs = [(node.args[0], node.args[1])] + ([(node.args[1], node.args[0])] if name == "mul" else [])
    for inner, factor in pairs:
        if isinstance(inner, fx.Node) and same_shape(node, inner) and is_uniform(factor) and is_positive(factor):
            return Step(_label(factor, "scaling of all logits"), inner)
    return None


def _label(operand: Any, name: str) -> str:
    """No name for a constant: without it, there is nothing to gain."""
    return "" if constant_of(operand) is not None else name


def _copied(node: fx.Node, inner: fx.Node) -> Step | None:
    """A copy, if no number is lost on the way."""
    if not same_shape(node, inner) or not isinstance(meta_of(node), Tensor):
        return None
    after, before = meta_of(node).dtype, meta_of(inner).dtype
    wide = after.is_floating_point and before.is_floating_point and after.itemsize >= before.itemsize
    drops = "dropout" in name_of(node) and bool(node.args[2])
    return Step("", inner) if wide and not drops else None

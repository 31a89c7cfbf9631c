"""Activations that a graph writes out, such as x·sigmoid(x), as the one operation that they are.

The parts of such an activation have no bound of their own: a comparison jumps, a product of two signals and an
exponential grow without bound. The whole is recognised by its structure, and replaced by an operation that computes the
same function (docs/design/0016-written-out-activations.md). What is not recognised stays as it is, and is refused by
its parts.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from robench.lipschitz.trace import written_out
from robench.lipschitz.trace.operations import operation_name

aten = torch.ops.aten

GREATER, LESS = frozenset(("gt", "ge")), frozenset(("lt", "le"))
"""Comparisons; on which side of a tie they are makes no difference, as the two branches meet there."""
CASTS = frozenset(("to", "_to_copy", "type_as", "clone", "alias", "detach"))
NEAR = 1e-6
"""Relative difference of a number to the one in a definition, as where it was rounded to float32."""


class Order(NamedTuple):
    """A mask that says where `high` is larger than `low`."""

    high: Any
    low: Any


def recognised(graph: GraphModule) -> GraphModule:
    """The graph with written-out activations as single operations.

    Args:
        graph: as recorded; it is changed in place.
    """
    reader = _Reader(graph)
    found = False
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or node not in reader.dependent:
            continue
        for rewrite in _REWRITES.get(_name(node), ()):
            with graph.graph.inserting_before(node):
                made = rewrite(reader, node)
            if made is not None:
                node.replace_all_uses_with(made)
                found = True
                break
    if found:
        _drop_unused(graph)
        graph.recompile()
    return graph


def _drop_unused(graph: GraphModule) -> None:
    for node in reversed(list(graph.graph.nodes)):
        if node.op in ("call_function", "get_attr") and not node.users and "_assert" not in str(node.target):
            graph.graph.erase_node(node)


def _name(node: Any) -> str:
    """Name of an operation without library and overload; empty for anything else."""
    if not isinstance(node, Node) or node.op != "call_function":
        return ""
    return operation_name(node.target).removeprefix("aten.")


class _Reader:
    """What the nodes of a graph compute, as far as it matters here."""

    def __init__(self, graph: GraphModule) -> None:
        self._graph = graph
        self.dependent: set[Node] = set()
        for node in graph.graph.nodes:
            if node.op == "placeholder" or any(given in self.dependent for given in node.all_input_nodes):
                self.dependent.add(node)

    def make(self, at: Node, target: Any, *args: Any, **kwargs: Any) -> Node:
        """A new node in the place of another."""
        made = self._graph.graph.call_function(target, args, kwargs)
        made.meta["path"] = at.meta.get("path", ())
        self.dependent.add(made)
        return made

    def times(self, at: Node, node: Node, factor: float) -> Node:
        """A node times a number."""
        return node if factor == 1.0 else self.make(at, aten.mul.Tensor, node, factor)

    def number(self, value: Any) -> float | None:
        """The number that an argument is, if it is one."""
        if isinstance(value, bool | int | float):
            return float(value)
        tensor = self._held(value)
        if tensor is not None and tensor.numel() == 1 and tensor.dim() <= 1 and not tensor.is_complex():
            return float(tensor)
        if isinstance(value, Node) and value not in self.dependent:
            if _name(value) in CASTS | {"lift_fresh", "lift_fresh_copy"}:
                return self.number(value.args[0])
            if _name(value) == "full":
                return self.number(value.args[1])
            if _name(value) in ("zeros", "ones"):
                return float(_name(value) == "ones")
        return None

    def _held(self, value: Any) -> Tensor | None:
        """The tensor that a node stands for."""
        if not isinstance(value, Node) or value.op != "get_attr":
            return None
        tensor = operator.attrgetter(str(value.target))(self._graph)
        return tensor if isinstance(tensor, Tensor) else None

    def is_number(self, value: Any, number: float) -> bool:
        """Whether an argument is this number, or the same rounded to float32."""
        found = self.number(value)
        return found is not None and math.isclose(found, number, rel_tol=NEAR, abs_tol=0.0)

    def same(self, a: Any, b: Any) -> bool:
        """Whether two arguments are computed in the same way from the same nodes."""
        a, b = self.uncast(a), self.uncast(b)
        if a is b:
            return True
        if isinstance(a, Node) and isinstance(b, Node):
            if a.op == b.op == "get_attr":
                own, other = self._held(a), self._held(b)
                return own is not None and other is not None and own.dtype == other.dtype and torch.equal(own, other)
            known = a.op == b.op == "call_function" and a.target is b.target
            return known and self.same(list(a.args), list(b.args)) and self.same(dict(a.kwargs), dict(b.kwargs))
        if isinstance(a, list | tuple) and isinstance(b, list | tuple):
            return len(a) == len(b) and all(self.same(*pair) for pair in zip(a, b, strict=True))
        if isinstance(a, dict) and isinstance(b, dict):
            return a.keys() == b.keys() and all(self.same(a[key], b[key]) for key in a)
        return type(a) is type(b) and not isinstance(a, Node) and bool(a == b)

    def uncast(self, value: Any) -> Any:
        """What a copy or a cast is made of."""
        while _name(value) in CASTS:
            value = value.args[0]
        return value

    def scaled(self, value: Any) -> tuple[float, Any]:
        """A value as a number times another value, which is no such product itself."""
        return list(self.factored(value))[-1]

    def factored(self, value: Any) -> Iterator[tuple[float, Any]]:
        """The ways to read a value as a number times another value, the value itself first."""
        factor, value = 1.0, self.uncast(value)
        yield factor, value
        while _name(value) in ("mul", "div", "neg"):
            left, right = value.args[0], value.args[-1]
            number, other = self.number(right), self.number(left)
            if _name(value) == "neg":
                factor, value = -factor, left
            elif value.kwargs or len(value.args) != 2 or (_name(value) == "div" and not number):
                return
            elif number is not None:
                factor, value = factor * number if _name(value) == "mul" else factor / number, left
            elif other is not None:
                factor, value = factor * other, right
            else:
                return
            value = self.uncast(value)
            yield factor, value

    def multiple(self, value: Any, of: Any) -> float | None:
        """The number c of a value that is c·`of`."""
        if self.same(value, of):
            return 1.0
        (factor, base), (own, root) = self.scaled(value), self.scaled(of)
        return factor / own if own and self.same(base, root) and isinstance(base, Node) else None

    def plus(self, value: Any) -> Iterator[tuple[Any, Any]]:
        """The two parts of a sum, in either order; of a difference with a number, the number negated."""
        value = self.uncast(value)
        if value in self.dependent and _name(value) in ("add", "sub") and not value.kwargs and len(value.args) == 2:
            left, right = value.args
            if _name(value) == "add":
                yield left, right
                yield right, left
            elif self.number(right) is not None:
                yield left, -float(self.number(right) or 0.0)

    def plus_number(self, value: Any, number: float) -> Any:
        """What a value is the sum of this number and; None if it is no such sum."""
        for part, other in self.plus(value):
            if self.is_number(other, number):
                return part
        return None

    def order(self, mask: Any) -> Order | None:
        """What a mask compares: 1 where `high` is larger."""
        mask = self.uncast(mask)
        if _name(mask) in ("logical_not", "bitwise_not"):
            other = self.order(mask.args[0])
            return None if other is None else Order(other.low, other.high)
        if _name(mask) == "rsub" and self.is_number(mask.args[1], 1.0) and len(mask.args) == 2:
            other = self.order(mask.args[0])
            return None if other is None else Order(other.low, other.high)
        if _name(mask) in GREATER:
            return Order(mask.args[0], mask.args[1])
        if _name(mask) in LESS:
            return Order(mask.args[1], mask.args[0])
        return None

    def is_zero(self, value: Any) -> bool:
        """Whether an argument is 0."""
        return self.number(value) == 0.0


Rewrite = Callable[[_Reader, Node], Node | None]


def _branches(reader: _Reader, at: Node, order: Order, chosen: Any, other: Any) -> Node | None:
    """`chosen` where `high` is larger than `low`, else `other`: a function that is known to be continuous."""
    high, low = order
    if reader.is_zero(high):  # −low > 0: the same with the branches exchanged
        high, low, chosen, other = low, high, other, chosen
    if reader.same(chosen, low) and reader.same(other, high):
        return _extreme(reader, at, aten.minimum.default, high, low)
    if reader.same(chosen, high) and reader.same(other, low):
        return _extreme(reader, at, aten.maximum.default, high, low)
    if not reader.is_zero(low) or not isinstance(high, Node):
        number = reader.number(low)
        return None if number is None else _guarded(reader, at, high, number, chosen, other)
    if reader.is_zero(chosen) and reader.same(other, high):
        return reader.make(at, aten.clamp_max.default, high, 0.0)
    if reader.is_zero(other) and reader.same(chosen, high):
        return reader.make(at, aten.relu.default, high)
    rise, fall = reader.multiple(chosen, high), reader.multiple(other, high)
    if reader.is_zero(other):
        fall = 0.0
    if rise is not None and rise > 0 and fall is not None:
        return reader.times(at, reader.make(at, aten.leaky_relu.default, high, fall / rise), rise)
    other = reader.uncast(other)
    for slopes, value in (other.args, other.args[::-1]) if _name(other) == "mul" and rise == 1.0 else ():
        if isinstance(slopes, Node) and slopes not in reader.dependent and reader.same(value, high):
            return reader.make(at, written_out.LEAKY, high, slopes)
    return None if rise is None else _scaled_elu(reader, at, high, rise, other)


def _extreme(reader: _Reader, at: Node, target: Any, high: Any, low: Any) -> Node:
    for value, limit in ((high, low), (low, high)):
        number = reader.number(limit)
        if number is not None:
            cut = aten.clamp_min.default if target is aten.maximum.default else aten.clamp_max.default
            return reader.make(at, cut, value, number)
    return reader.make(at, target, high, low)


def _is_cut_above(reader: _Reader, value: Any) -> bool:
    """Whether a value is min(v, 0)."""
    if _name(value) == "clamp":
        given = [*value.args[1:], *(None for _ in range(3 - len(value.args)))]
        low, high = value.kwargs.get("min", given[0]), value.kwargs.get("max", given[1])
        return low is None and high is not None and reader.is_zero(high)
    return _name(value) in ("clamp_max", "minimum") and len(value.args) == 2 and reader.is_zero(value.args[1])


def _scaled_elu(reader: _Reader, at: Node, x: Node, rise: float, other: Any) -> Node | None:
    """s·x above 0, f·(exp(x) − 1) below, which may be cut off above 0 before the exponential."""
    fall, below = reader.scaled(other)
    inner = _argument(reader, below, "expm1") or _argument(reader, reader.plus_number(below, -1.0), "exp")
    if inner is None or rise < 0:
        return None
    if _is_cut_above(reader, inner):
        inner = inner.args[0]
    return reader.make(at, written_out.ELU, x, rise, fall) if reader.same(inner, x) else None


def _argument(reader: _Reader, value: Any, name: str) -> Any:
    """What an operation of this name is given; None if the value is of another."""
    value = reader.uncast(value)
    return value.args[0] if _name(value) == name and len(value.args) == 1 else None


def _guarded(reader: _Reader, at: Node, high: Any, threshold: float, chosen: Any, other: Any) -> Node | None:
    """A softplus with the threshold of torch: x where β·x is above it, else log1p(exp(β·x)) / β."""
    beta, (share, below) = reader.multiple(high, chosen), reader.scaled(other)
    plain = _name(below) == "softplus" and len(below.args) == 1 and not below.kwargs and threshold == 20.0
    if beta is None or beta <= 0 or not (plain or _name(below) == "robench.softplus"):
        return None
    if reader.multiple(below.args[0], chosen) != beta or not math.isclose(share * beta, 1.0):
        return None
    return reader.make(at, aten.softplus.default, chosen, beta, threshold)


def _masked_product(reader: _Reader, node: Node) -> Node | None:
    """A value where a mask is 1, else 0."""
    for value, mask in (node.args, node.args[::-1]):
        order = reader.order(mask) if isinstance(mask, Node) else None
        if order is not None and isinstance(value, Node):
            made = _branches(reader, node, order, value, 0.0)
            if made is not None:
                return made
    return None


class Choice(NamedTuple):
    """One of two values by an order: `chosen` where `high` is larger than `low`."""

    order: Order
    chosen: Any
    other: Any


def _choice(reader: _Reader, node: Any) -> Choice | None:
    """A choice written as where(m, a, b), or as a·m + b·(1 − m) for a mask m."""
    if _name(node) == "where":
        order = reader.order(node.args[0])
        return None if order is None else Choice(order, node.args[1], node.args[2])
    if _name(node) != "add" or node.kwargs or len(node.args) != 2:
        return None
    if not all(_name(side) == "mul" and len(side.args) == 2 for side in node.args):
        return None
    first, second = ((side.args, side.args[::-1]) for side in node.args)
    for chosen, mask in first:
        order = reader.order(mask) if isinstance(mask, Node) else None
        if order is None:
            continue
        for other, rest in second:
            opposite = reader.order(rest) if isinstance(rest, Node) else None
            if opposite is not None and reader.same(order.high, opposite.low) and reader.same(order.low, opposite.high):
                return Choice(order, chosen, other)
    return None


def _chosen(reader: _Reader, node: Node) -> Node | None:
    """One of two values by a mask."""
    choice = _choice(reader, node)
    return None if choice is None else _branches(reader, node, *choice)


def _reflection(reader: _Reader, node: Node) -> Node | None:
    """(x, y) on one side of a line, its reflection on the other: HouseHolder activations, channel by channel."""
    given: Any = node.args[0]
    if len(node.args) != 2 or len(given) != 2:
        return None
    sides = []
    for part in given:
        choice = _choice(reader, part)
        if choice is None:
            return None
        order, turned, plain = choice
        if reader.is_zero(order.high):  # chosen below 0
            order, turned, plain = Order(order.low, order.high), plain, turned
        if not reader.is_zero(order.low):
            return None
        sides.append((order.high, turned, plain))
    (level, first, x), (again, second, y) = sides
    parts = [_of_two(reader, value, x, y, minus) for value, minus in ((level, True), (first, False), (second, True))]
    if not reader.same(level, again) or None in parts:
        return None
    (sine, cosine), (across, along), (along_too, across_too) = (part for part in parts if part is not None)
    if not (reader.same(along, along_too) and reader.same(across, across_too)):
        return None
    return reader.make(node, written_out.REFLECTION, x, y, sine, cosine, across, along, node.args[1])


def _of_two(reader: _Reader, value: Any, x: Any, y: Any, minus: bool) -> tuple[Node, Node] | None:
    """The constants a, b of a value a·x + b·y, or a·x − b·y."""
    value = reader.uncast(value)
    if _name(value) != ("sub" if minus else "add") or value.kwargs or len(value.args) != 2:
        return None
    found = []
    for term, of in zip(value.args, (x, y), strict=True):
        pairs = (term.args, term.args[::-1]) if _name(term) == "mul" and len(term.args) == 2 else ()
        constants = [c for c, v in pairs if isinstance(c, Node) and c not in reader.dependent and reader.same(v, of)]
        if not constants:
            return None
        found.append(constants[0])
    return found[0], found[1]


def _gate(reader: _Reader, node: Node) -> Node | None:
    """A value times a gate of it: SiLU, GELU, mish, hardswish."""
    for left, right in (node.args, node.args[::-1]):
        if not (isinstance(left, Node) and isinstance(right, Node)) or {left, right} - reader.dependent:
            continue
        share, gate = reader.scaled(right)
        for own, x in reader.factored(left):
            made = _gated(reader, node, x, gate)
            if made is not None:
                return reader.times(node, made[0], own * share * made[1])
    return None


def _gated(reader: _Reader, at: Node, x: Any, gate: Any) -> tuple[Node, float] | None:
    """The product of x and its gate as a node, and a number that it is times."""
    if _name(gate) == "sigmoid":
        steep, inner = reader.scaled(gate.args[0])
        if reader.same(inner, x):
            return _swish(reader, at, x, steep)
        for rate, value in (inner.args, inner.args[::-1]) if _name(inner) == "mul" else ():
            if isinstance(rate, Node) and rate not in reader.dependent and reader.same(value, x) and steep == 1.0:
                return reader.make(at, written_out.SWISH_RATES, x, rate), 1.0
    if _name(gate) == "tanh":
        soft = reader.uncast(gate.args[0])
        plain = _name(soft) in ("softplus", "robench.softplus") and len(soft.args) == 1 and not soft.kwargs
        if plain and reader.same(soft.args[0], x):
            return reader.make(at, aten.mish.default, x), 1.0
    if _name(gate) == "hardsigmoid" and reader.same(gate.args[0], x):
        return reader.make(at, written_out.HARDSIGMOID_GATE, x), 1.0
    if _is_cut(reader, gate, 0.0, 6.0) and reader.same(reader.plus_number(gate.args[0], 3.0), x):
        return reader.make(at, aten.hardswish.default, x), 6.0
    if _is_cut(reader, gate, 0.0, 1.0):
        sixth, inner = reader.scaled(reader.plus_number(gate.args[0], 0.5))
        if reader.same(inner, x):
            return reader.make(at, written_out.HARD_GATE, x, sixth), 1.0
    return _gelu(reader, at, x, reader.plus_number(gate, 1.0))


def _swish(reader: _Reader, at: Node, x: Any, steep: float) -> tuple[Node, float]:
    if steep == 1.0:
        return reader.make(at, aten.silu.default, x), 1.0
    return reader.make(at, written_out.SWISH, x, steep), 1.0


def _is_cut(reader: _Reader, value: Any, low: float, high: float) -> bool:
    if _name(value) == "relu6":
        return (low, high) == (0.0, 6.0)
    limits = list(value.args[1:]) if _name(value) in ("hardtanh", "clamp") else []
    if len(limits) != 2 and _name(value) == "clamp":
        limits = [value.kwargs.get("min", limits[0] if limits else None), value.kwargs.get("max")]
    return len(limits) == 2 and reader.number(limits[0]) == low and reader.number(limits[1]) == high


def _gelu(reader: _Reader, at: Node, x: Any, bent: Any) -> tuple[Node, float] | None:
    """x·(1 + erf(c·x)) = 2·GELU, for any c, and x·(1 + tanh(√(2/π)(x + 0.044715 x³)))."""
    bent = reader.uncast(bent)
    if _name(bent) == "erf":
        steep, inner = reader.scaled(bent.args[0])
        if reader.same(inner, x) and steep != 0.0:
            return reader.make(at, written_out.ERF_GATE, x, steep), 2.0
    if _name(bent) == "tanh":
        steep, inner = reader.scaled(bent.args[0])
        if not math.isclose(steep, math.sqrt(2 / math.pi), rel_tol=NEAR):
            return None
        for part, cube in reader.plus(inner):
            share, power = _monomial(reader, cube, x) or (0.0, 0.0)
            if reader.same(part, x) and power == 3.0 and math.isclose(share, 0.044715, rel_tol=NEAR):
                return reader.make(at, aten.gelu.default, x, approximate="tanh"), 2.0
    return None


def _monomial(reader: _Reader, value: Any, x: Any) -> tuple[float, float] | None:
    """(c, n) if a value is written as c·xⁿ."""
    value, number = reader.uncast(value), reader.number(value)
    if number is not None:
        return number, 0.0
    if reader.same(value, x):
        return 1.0, 1.0
    if _name(value) in ("pow", "square"):
        inner = _monomial(reader, value.args[0], x)
        power = 2.0 if _name(value) == "square" else reader.number(value.args[1])
        return (1.0, power) if inner == (1.0, 1.0) and power is not None else None
    if _name(value) == "mul":
        parts = [_monomial(reader, part, x) for part in value.args]
        known = [part for part in parts if part is not None]
        return (math.prod(part[0] for part in known), sum(part[1] for part in known)) if len(known) == 2 else None
    return None


def _sigmoid_of(reader: _Reader, below: Any) -> Any:
    """Of a value 1 + exp(v), the exponent v as a number times a node."""
    inner = _argument(reader, reader.plus_number(below, 1.0), "exp")
    return None if inner is None else reader.scaled(inner)


def _reciprocal(reader: _Reader, node: Node) -> Node | None:
    """1 / (1 + exp(−v))."""
    found = _sigmoid_of(reader, node.args[0])
    if found is None or not isinstance(found[1], Node):
        return None
    return reader.make(node, aten.sigmoid.default, reader.times(node, found[1], -found[0]))


def _quotient(reader: _Reader, node: Node) -> Node | None:
    """The forms x / (1 + exp(−k·x)), x / (1 + |x|), and 1 / (1 + exp(−v))."""
    if node.kwargs or len(node.args) != 2:
        return None
    above, below = node.args
    found = _sigmoid_of(reader, below)
    if found is not None and isinstance(found[1], Node):
        rate = -found[0]
        if reader.number(above) is not None:
            made = reader.make(node, aten.sigmoid.default, reader.times(node, found[1], rate))
            return reader.times(node, made, float(reader.number(above) or 0.0))
        share, x = reader.scaled(above)
        if reader.same(x, found[1]):
            swish, factor = _swish(reader, node, x, rate)
            return reader.times(node, swish, share * factor)
    size = _argument(reader, reader.plus_number(below, 1.0), "abs")
    if size is not None and reader.same(size, above):
        return reader.make(node, written_out.SOFTSIGN, above)
    return None


def _logarithm(reader: _Reader, node: Node) -> Node | None:
    """log(1 + exp(v)), log1p(exp(v))."""
    inner = node.args[0] if _name(node) == "log1p" else reader.plus_number(node.args[0], 1.0)
    v = _argument(reader, inner, "exp")
    return reader.make(node, written_out.SOFTPLUS, v) if isinstance(v, Node) else None


_REWRITES: dict[str, tuple[Rewrite, ...]] = {
    "cat": (_reflection,),
    "where": (_chosen,),
    "mul": (_gate, _masked_product),
    "add": (_chosen,),
    "reciprocal": (_reciprocal,),
    "div": (_quotient,),
    "log": (_logarithm,),
    "log1p": (_logarithm,),
}

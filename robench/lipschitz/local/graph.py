"""A network as affine maps and bends: functions of one entry that are linear on either side of 0.

The graph is made of the signals of the walk, as the global bound is, so both speak of one and the same function. Maxima
and sorts of pairs are written with bends: max(a, b) = a + relu(b − a), min(a, b) = b − relu(b − a).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robench.errors import BoundError
from robench.lipschitz.norms.linear import Dense, Diagonal, LinearOp
from robench.lipschitz.norms.rounding import vector_norm_upper
from robench.lipschitz.rules.table import RULES
from robench.lipschitz.trace.linear import Linear
from robench.lipschitz.trace.nonlinear import Nonlinear, Sum
from robench.lipschitz.trace.signals import BATCH, Input, Signal, View
from robench.lipschitz.trace.trace import Trace
from robench.lipschitz.trace.walk import walk
from robench.models.networks.widened import Widened
from robench.numerics import gamma, round_up

LARGEST = 16_000_000
"""Entries of the factors that are pulled back at a time, and of a matrix that is kept."""
MOST_UNITS = 20_000
"""Units of a network: each may need a bound of its own for each image."""
GRAM_SIDE = 1024
"""Units of which joint norms are computed."""
UP = 1 + 2.0**-40
"""Times this, a result of a few operations on numbers ≥ 0, or a norm of some, is above the exact one."""


@dataclass(eq=False)
class Edge:
    """One linear map into an affine node: entries of the parent are taken, mapped, and multiplied by a number.

    Fields:
        parent: number of the node that it starts from.
        size: entries of the parent.
        index: 1 + position in the parent of each entry that is taken, 0 for a constant; None for all, in order.
        fill: the constants among what is taken.
        op: what is done to what was taken; None for nothing.
        weight: factor of the result.
    """

    parent: int
    size: int
    index: Tensor | None = None
    fill: Tensor | None = None
    op: LinearOp | None = None
    weight: float = 1.0

    def apply(self, x: Tensor) -> Tensor:
        """(K, size) -> (K, m), constants among the entries included."""
        if self.index is not None:
            x = torch.cat((x.new_zeros(len(x), 1), x), dim=1)[:, self.index]
            x = x if self.fill is None else x + self.fill
        x = x if self.op is None else self.op.apply(x)
        return x if self.weight == 1.0 else x * self.weight

    def adjoint(self, v: Tensor) -> Tensor:
        """(K, m) -> (K, size): the transpose of the linear part."""
        v = v if self.weight == 1.0 else v * self.weight
        taken = self.size if self.index is None else len(self.index)
        match self.op:
            case None:
                pass
            case Diagonal(factors=factors):
                v = v * factors
            case Dense(weight=weight) if weight.shape[1] == taken:
                v = v @ weight
            case op:
                with torch.enable_grad():
                    at = torch.zeros(len(v), taken, dtype=torch.float64, requires_grad=True)
                    (v,) = torch.autograd.grad((op.apply(at) * v).sum(), at, create_graph=v.requires_grad)
        if self.index is None:
            return v
        return torch.zeros(len(v), self.size + 1, dtype=torch.float64).index_add(1, self.index, v)[:, 1:]

    @cached_property
    def absolute(self) -> float:
        """Upper bound of the norm of the map of absolute values."""
        copies = 1 if self.index is None else int(torch.bincount(self.index, minlength=2)[1:].max())
        norm = 1.0 if self.op is None else self.op.absolute_norm
        return round_up(math.sqrt(copies) * norm * abs(self.weight), 3)


@dataclass(eq=False)
class Node:
    """A value of the network.

    Fields:
        size: entries.
        lipschitz: upper bound of the constant of the input to here, over all of the input space.
    """

    size: int
    lipschitz: float


@dataclass(eq=False)
class Start(Node):
    """The input."""


@dataclass(eq=False)
class Affine(Node):
    """A sum of linear maps, plus a constant that is known up to an error.

    Fields:
        edges: the maps.
        constant: what is added, as computed.
        error: bound of the norm of the difference between `constant` and the constant of the network.
        of: of the maxima and minima of pairs, the node of which they are a function of constant 1.
    """

    edges: tuple[Edge, ...]
    constant: Tensor | None = None
    error: float = 0.0
    of: int | None = None


@dataclass(eq=False)
class Bend(Node):
    """x above 0, `below`·x below 0, entry by entry.

    Fields:
        parent: number of the node of x.
        below: slope below 0, (size,).
    """

    parent: int
    below: Tensor


class Passed(NamedTuple):
    """An edge on the way back from a node to bends and the input.

    Fields:
        node: number of the node that the edge leads to.
        edge: the edge.
        sizes: upper bounds of the norms of the rows of factors there.
    """

    node: int
    edge: Edge
    sizes: Tensor


@dataclass(eq=False)
class Rows:
    """The affine map from bends and the input to a node, entry by entry.

    Fields:
        norms: by number of the bend or input, upper bounds of the norms of the rows.
        passed: edges on the way, which round.
        matrix: number of the only source and the rows, where that is a matrix of moderate size.
    """

    norms: dict[int, Tensor]
    passed: list[Passed]
    matrix: tuple[int, Tensor] | None


@dataclass(eq=False)
class Graph:
    """Nodes in the order of computation; the first is the input, the last the output.

    Fields:
        nodes: all of them.
        terms: more than the roundings that any entry of any map of the graph, or of its transpose, takes.
    """

    nodes: list[Node] = field(default_factory=list)
    terms: int = 64
    _rows: dict[int, Rows] = field(default_factory=dict)

    def add(self, node: Node) -> int:
        """Append a node; its number."""
        self.nodes.append(node)
        self.terms += node.size
        return len(self.nodes) - 1

    @property
    def unit(self) -> float:
        """γ of `terms`."""
        return gamma(self.terms)

    def rows(self, number: int) -> Rows:
        """The affine map to a node."""
        if number not in self._rows:
            self._rows[number] = self._affine_rows(number)
        return self._rows[number]

    def _affine_rows(self, number: int) -> Rows:
        size, widest = self.nodes[number].size, max(node.size for node in self.nodes)
        step = max(1, LARGEST // (4 * widest))
        parts = [self._affine_part(number, start, min(start + step, size)) for start in range(0, size, step)]
        sources, passed = parts[0]
        norms = {source: torch.cat([norms_upper(part[0][source]) for part in parts]) for source in sources}
        edges = [
            Passed(node, edge, torch.cat([part[1][place].sizes for part in parts]))
            for place, (node, edge, _) in enumerate(passed)
        ]
        source = next(iter(sources))
        small = len(parts) == 1 and len(sources) == 1 and size <= GRAM_SIDE
        return Rows(norms, edges, (source, sources[source]) if small else None)

    def _affine_part(self, number: int, start: int, end: int) -> tuple[dict[int, Tensor], list[Passed]]:
        rows = torch.zeros(end - start, self.nodes[number].size, dtype=torch.float64)
        rows[torch.arange(end - start), torch.arange(start, end)] = 1.0
        factors, sources, passed = {number: rows}, dict[int, Tensor](), list[Passed]()
        for at in range(number, -1, -1):
            if at not in factors:
                continue
            row, node = factors.pop(at), self.nodes[at]
            if not isinstance(node, Affine):
                sources[at] = row
                continue
            for edge in node.edges:
                passed.append(Passed(at, edge, norms_upper(row)))
                pulled = edge.adjoint(row)
                factors[edge.parent] = factors[edge.parent] + pulled if edge.parent in factors else pulled
        return sources, passed


def norms_upper(rows: Tensor) -> Tensor:
    """Upper bounds of the norms of rows."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norms * UP


def network_graph(network: nn.Module, input_shape: tuple[int, ...]) -> Graph:
    """The graph of a float64 network.

    Args:
        network: as `widened` makes it.
        input_shape: of one input, without the batch.

    Raises:
        BoundError: an operation has no Lipschitz rule, or is no affine map, bend, maximum or sort of pairs.
    """
    trace = Trace(RULES)
    with torch.no_grad():
        output = walk(trace, network.module if isinstance(network, Widened) else network, trace.start(input_shape))
        return graph_of(output, trace.signals)


def graph_of(output: View, signals: Sequence[Signal]) -> Graph:
    """The graph of what the walk made.

    Args:
        output: of the walk.
        signals: all that it made.

    Raises:
        BoundError: an operation is no affine map, bend, maximum or sort of pairs.
    """
    graph, places = Graph(), dict[int, int]()
    graph.terms += sum(signal.size + (signal.op.terms if isinstance(signal, Linear) else 0) for signal in signals)
    for signal in _ancestors(output.signal):
        places[signal.order] = _build(graph, places, signal)
    if not output.whole:
        graph.add(Affine(output.size, output.lipschitz, (_edge(places, output),)))
    units = sum(node.size for node in graph.nodes if isinstance(node, Bend))
    if units > MOST_UNITS:
        raise BoundError(
            f"the network has {units} units, and the rule `local` takes {MOST_UNITS} at most",
            hint="certify without it",
        )
    return graph


def _ancestors(last: Signal) -> list[Signal]:
    """All signals that one depends on, itself included, in order."""
    found: dict[int, Signal] = {}
    queue = [last]
    while queue:
        signal = queue.pop()
        if signal.order not in found:
            found[signal.order] = signal
            queue.extend(view.signal for view in signal.inputs)
    return [found[order] for order in sorted(found)]


def _edge(places: dict[int, int], view: View, op: LinearOp | None = None, weight: float = 1.0) -> Edge:
    parent, size = places[view.signal.order], view.signal.size
    if view.whole:
        return Edge(parent, size, op=op, weight=weight)
    index = view.flat_index
    constants = torch.where(index == 0, view.zero.reshape(BATCH, -1)[0], 0.0)
    return Edge(parent, size, index, constants if bool(constants.any()) else None, op, weight)


def _build(graph: Graph, places: dict[int, int], signal: Signal) -> int:
    """Append a signal; the number of its node."""
    match signal:
        case Input():
            return graph.add(Start(signal.size, 1.0))
        case Linear():
            return graph.add(_linear(graph, places, signal))
        case Sum():
            pairs = zip(signal.inputs, signal.weights, strict=True)
            edges = tuple(_edge(places, view, weight=weight) for view, weight in pairs)
            return graph.add(Affine(signal.size, signal.lipschitz, edges))
        case Nonlinear():
            return _nonlinear(graph, places, signal)
    raise _refusal(signal)


def _refusal(signal: Signal, what: str = "") -> BoundError:
    return BoundError(
        f"the rule `local` does not know `{signal.operation}` in `{signal.name}`{what}",
        hint="it takes affine maps, ReLU, leaky ReLU, absolute values, maxima, and sorts of pairs; certify without it",
    )


def _linear(graph: Graph, places: dict[int, int], signal: Linear) -> Affine:
    """A linear operation; its constant is what it computes for the input 0, less what the linear part makes of that."""
    view = signal.view
    start, end = (item.reshape(BATCH, -1)[0] for item in (view.zero, signal.zero))
    constant = end - signal.op.apply(start[None])[0]
    terms = gamma(4 * (signal.op.terms + view.size + signal.size + 16))
    size = signal.op.absolute_norm * vector_norm_upper(start) + signal.offset + vector_norm_upper(end)
    own = None if not bool(constant.any()) else constant
    error = round_up(2 * terms * size, 8) if size else 0.0
    return Affine(signal.size, signal.lipschitz, (_edge(places, view, signal.op),), own, error)


def _nonlinear(graph: Graph, places: dict[int, int], signal: Nonlinear) -> int:
    function = signal.function
    if function.below is not None and len(signal.inputs) == 1:
        parent = places[signal.inputs[0].signal.order]
        if not signal.inputs[0].whole:
            view = signal.inputs[0]
            parent = graph.add(Affine(view.size, view.lipschitz, (_edge(places, view),)))
        below = torch.broadcast_to(torch.as_tensor(function.below, dtype=torch.float64), (signal.size,))
        return graph.add(Bend(signal.size, signal.lipschitz, parent, below))
    if function.groups is None:
        raise _refusal(signal)
    groups = function.groups()
    sort = len(groups) * groups.shape[1] == signal.size and signal.operation != "max_pool"
    if sort and groups.shape[1] != 2:
        raise _refusal(signal, f", which puts {groups.shape[1]} entries in order")
    copies = int(torch.bincount(groups.reshape(-1)).max())
    joint = round_up(math.sqrt(copies) * signal.joint, 2)
    gathered = _gather(graph, places, signal.inputs, groups.T.reshape(-1), joint)
    if not sort:
        return _largest(graph, gathered, groups.shape[1], len(groups), joint)
    low = _pair(graph, gathered, len(groups), joint, both=True)
    order = torch.empty(signal.size, dtype=torch.long)
    order[groups.T.reshape(-1)] = torch.arange(1, signal.size + 1)
    return graph.add(Affine(signal.size, signal.lipschitz, (Edge(low, signal.size, order),)))


def _gather(graph: Graph, places: dict[int, int], views: Sequence[View], positions: Tensor, lipschitz: float) -> int:
    """Entries of several views, put one after the other, by position."""
    edges, start = [], 0
    for view in views:
        inside = (positions >= start) & (positions < start + view.size)
        own = torch.where(inside, positions - start, 0)
        index = torch.where(inside, view.flat_index[own], 0)
        fill = torch.where(inside & (index == 0), view.zero.reshape(BATCH, -1)[0][own], 0.0)
        edges.append(Edge(places[view.signal.order], view.signal.size, index, fill if bool(fill.any()) else None))
        start += view.size
    return graph.add(Affine(len(positions), lipschitz, tuple(edges)))


def _pair(graph: Graph, values: int, pairs: int, lipschitz: float, *, both: bool = False) -> int:
    """The maxima of entries k and `pairs` + k; with `both`, the minima before them."""
    size = graph.nodes[values].size
    first, second = torch.arange(1, pairs + 1), torch.arange(pairs + 1, 2 * pairs + 1)
    edges = (Edge(values, size, second), Edge(values, size, first, weight=-1.0))
    apart = graph.add(Affine(pairs, round_up(math.sqrt(2.0) * lipschitz, 2), edges))
    above = graph.add(Bend(pairs, graph.nodes[apart].lipschitz, apart, torch.zeros(pairs, dtype=torch.float64)))
    rest = torch.arange(2 * pairs + 1, size + 1)
    base = torch.cat((*((second,) if both else ()), first, rest))
    added = torch.cat((*((first,) if both else ()), first, torch.zeros_like(rest)))
    signs = torch.ones(len(base), dtype=torch.float64)
    signs[: pairs if both else 0] = -1.0
    result = (Edge(values, size, base), Edge(above, pairs, added, op=Diagonal(signs)))
    return graph.add(Affine(len(base), lipschitz, result, of=values))


def _largest(graph: Graph, values: int, count: int, groups: int, lipschitz: float) -> int:
    """The largest of each group: entries k, `groups` + k, 2·`groups` + k, …, in a tournament."""
    while count > 1:
        half = count // 2
        values = _pair(graph, values, half * groups, lipschitz)
        count -= half
    return values

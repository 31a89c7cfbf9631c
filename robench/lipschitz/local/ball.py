"""Bounds of what a network does in a ball around each of some inputs (docs/design/0017-local.md).

Every node's value at x + δ less the one that was computed at x is bounded, for all ‖δ‖ ≤ r. A row of factors on a node
is pulled back to the input: through affine nodes by transposes, at bends by a number for each unit in the place of its
slope. Any number will do: what is left of a unit is bounded by its least value between the limits of its input, less a
multiple of the square that all units together cannot exceed. All sums have their rounding errors subtracted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from robench.lipschitz.local.graph import UP, Affine, Bend, Graph, Start, norms_upper
from robench.lipschitz.norms.spectral import proof_error
from robench.numerics import gamma

TINY = 1e-280
"""More than all that underflow does to a sum of a network of this kind."""
BLOCK = 300_000
"""Entries of the largest factors that are pulled back at a time."""
MULTIPLES = (0.3, 0.6, 1.0)
"""Multipliers that are tried, in units of the one that would be best if all units bent at 0."""
TILTS = (0.0, 1.0)
"""Slopes that are tried for units that hurt: between that at x and that of the chord."""

SMALLEST = 1e-250
"""In the place of a multiplier of 0: a minimum is then at an end."""
STEPS, STEP, SMALL = 20, 0.05, 1e-6
"""Of the ascent: how many, how long, and the smallest multiplier that it starts from."""

Slopes = Callable[["Limits", int, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Chooses, at a bend, slopes (R, n) and multipliers (R,), given its limits, its number, factors (R, n) and images."""


@dataclass(eq=False)
class Limits:
    """What is known of the input of a bend in each ball.

    Fields:
        center: at x, as computed (N, n).
        low, high: how far it falls and rises at most (N, n).
        below: slope below 0 (n,).
        joint: bound of the norm of the changes of all units that can bend (N,).
    """

    center: Tensor
    low: Tensor
    high: Tensor
    below: Tensor
    joint: Tensor

    @cached_property
    def unstable(self) -> Tensor:
        """Which units can bend: 0 is strictly between their limits."""
        return bends(self.center, self.low, self.high)

    def at(self, images: Tensor) -> Limits:
        """Of the image of each row."""
        return Limits(self.center[images], self.low[images], self.high[images], self.below, self.joint[images])

    def units(self) -> Limits:
        """Of the units that can bend in some of the balls."""
        low, high, center = (item[:, self.able] for item in (self.low, self.high, self.center))
        return Limits(center, low, high, self.below[self.able], self.joint)

    @cached_property
    def able(self) -> Tensor:
        """Numbers of the units that can bend in some of the balls."""
        return torch.nonzero(self.unstable.any(0)).reshape(-1)

    @cached_property
    def start(self) -> Tensor:
        """Slope at x."""
        return torch.where(self.center >= 0, 1.0, self.below)

    @property
    def chord(self) -> Tensor:
        """Slope of the line between the values at both limits; that at x of a unit that cannot bend."""
        ends = [torch.where(z >= 0, z, self.below * z) for z in (self.center + self.high, self.center - self.low)]
        width = self.high + self.low
        chord = (ends[0] - ends[1]) / width.clamp_min(1e-300)
        return torch.where(self.unstable, chord, self.start)

    @property
    def steepest(self) -> Tensor:
        """Bound of |φ(z + Δ) − φ(z)| / |Δ| of each unit."""
        fallen = (self.center - self.below * (self.center - self.low)) / self.low.clamp_min(1e-300)
        risen = (self.center + self.high - self.below * self.center) / self.high.clamp_min(1e-300)
        end = torch.where(self.center >= 0, fallen, risen).abs() * UP
        return torch.where(self.unstable, torch.maximum(self.start.abs(), end), self.start.abs())


def bends(center: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Where 0 is strictly between −low and high around the center.

    Args:
        center: values at x.
        low: how far they fall at most.
        high: how far they rise at most.
    """
    return torch.where(center >= 0, center < low, -center < high)


class Ball:
    """Balls around some inputs.

    Args:
        graph: of the network.
        inputs: (N, size), float64.
    """

    def __init__(self, graph: Graph, inputs: Tensor) -> None:
        self.graph = graph
        self.values: list[Tensor] = []
        self.errors: list[Tensor] = []
        self.distances: list[Tensor] = []
        for number in range(len(graph.nodes)):
            value, error, distance = self._value(number, inputs)
            self.values.append(value)
            self.errors.append(error * UP + TINY)
            self.distances.append(distance * UP + TINY)

    @property
    def images(self) -> int:
        """How many."""
        return len(self.values[0])

    def _value(self, number: int, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The value as computed; what its last operation rounded; how far it is from the exact value at x."""
        node, nothing = self.graph.nodes[number], torch.zeros(len(inputs), dtype=torch.float64)
        match node:
            case Affine():
                parts = [edge.apply(self.values[edge.parent]) for edge in node.edges]
                value = sum(parts[1:], parts[0])
                value = value if node.constant is None else value + node.constant
                size, distance = nothing + _constants(node), nothing
                for edge in node.edges:
                    size = size + edge.absolute * norms_upper(self.values[edge.parent])
                    distance = distance + edge.absolute * self.distances[edge.parent]
                error = self.graph.unit * size + node.error
                if node.of is not None:
                    distance = torch.minimum(distance, self.distances[node.of] + self.rounded(node))
                return value, error, error + distance
            case Bend():
                before = self.values[node.parent]
                value = torch.where(before >= 0, before, node.below * before)
                error = gamma(2) * norms_upper(value)
                return value, error, error + float(node.below.abs().clamp_min(1.0).max()) * self.distances[node.parent]
        return inputs, nothing, nothing

    def rounded(self, node: Affine) -> Tensor:
        """What the parts of maxima and minima round."""
        parts = [self.errors[edge.parent] for edge in node.edges if edge.parent != node.of]
        parts += [
            self.errors[bend.parent]
            for bend in (self.graph.nodes[e.parent] for e in node.edges)
            if isinstance(bend, Bend)
        ]
        return 2 * sum(parts, torch.zeros(self.images, dtype=torch.float64))

    def of(self, images: Tensor) -> Ball:
        """Around some of the inputs."""
        other = Ball.__new__(Ball)
        other.graph = self.graph
        other.values, other.errors, other.distances = (
            [item[images] for item in items] for items in (self.values, self.errors, self.distances)
        )
        return other

    def slopes(self, number: int, rows: Tensor, images: Tensor) -> Tensor:
        """Lengths (R,) of the gradients of ⟨row, node⟩ at the inputs, as computed.

        Args:
            number: of the node.
            rows: factors (R, n).
            images: input of each row (R,).
        """
        factors = {number: rows}
        for at in range(number, 0, -1):
            if at not in factors:
                continue
            row, node = factors.pop(at), self.graph.nodes[at]
            if isinstance(node, Affine):
                for edge in node.edges:
                    _add(factors, edge.parent, edge.adjoint(row), torch.zeros(len(rows), dtype=torch.float64))
            elif isinstance(node, Bend):
                slope = torch.where(self.values[node.parent][images] >= 0, 1.0, node.below)
                _add(factors, node.parent, row * slope, torch.zeros(len(rows), dtype=torch.float64))
        return norms_upper(factors.get(0, torch.zeros(len(rows), 1, dtype=torch.float64)))

    def within(self, radius: Tensor) -> Within:
        """What holds within a radius (N,) of each."""
        return Within(self, radius)


class Within:
    """Bounds that hold within a radius of each input.

    Fields:
        reach: of each node, bound of the norm of its change (N,).
        limits: of each bend.
    """

    def __init__(self, ball: Ball, radius: Tensor) -> None:
        self.ball, self.graph, self.radius = ball, ball.graph, radius
        nodes = self.graph.nodes
        self.reach = [
            (node.lipschitz * radius + distance) * UP for node, distance in zip(nodes, ball.distances, strict=True)
        ]
        self.limits: dict[int, Limits] = {}
        for number, node in enumerate(nodes):
            if isinstance(node, Bend):
                limits = self.limits[number] = self._limits_of(node)
                known = self._jointly(node, torch.maximum(limits.low, limits.high), limits.steepest)
                self.reach[number] = torch.minimum(self.reach[number], known + ball.errors[number])
            elif isinstance(node, Affine):
                total = ball.errors[number]
                for edge in node.edges:
                    total = total + edge.absolute * self.reach[edge.parent] * UP
                if node.of is not None:
                    own = self.reach[node.of] + ball.rounded(node) + ball.errors[number]
                    total = torch.minimum(total, own)
                self.reach[number] = torch.minimum(self.reach[number], total * UP)

    def _limits_of(self, node: Bend) -> Limits:
        center = self.ball.values[node.parent]
        low, high = self._limits(node)
        joint = self._jointly(node, torch.maximum(low, high), bends(center, low, high).double())
        return Limits(center, low, high, node.below, torch.minimum(joint, self.reach[node.parent]))

    def _limits(self, node: Bend) -> tuple[Tensor, Tensor]:
        """By row norms and the reach of what is before; better where these do not tell the sign of a unit."""
        center = self.ball.values[node.parent]
        rough = self._rough(node.parent)
        low, high = rough.clone(), rough.clone()
        if self._straight(node.parent):
            return low, high
        images, units = torch.nonzero(bends(center, low, high), as_tuple=True)
        step = max(1, BLOCK // max(each.size for each in self.graph.nodes))
        for start in range(0, len(images), step):
            image, unit = images[start : start + step], units[start : start + step]
            rows = torch.zeros(len(image), node.size, dtype=torch.float64)
            rows[torch.arange(len(image)), unit] = 1.0
            low[image, unit] = torch.minimum(low[image, unit], -self.least(node.parent, rows, image))
            high[image, unit] = torch.minimum(high[image, unit], -self.least(node.parent, -rows, image))
        return low.clamp_min(0.0), high.clamp_min(0.0)

    def _straight(self, number: int) -> bool:
        """Whether there is no bend before a node."""
        return not any(isinstance(self.graph.nodes[source], Bend) for source in self.graph.rows(number).norms)

    def _rough(self, number: int) -> Tensor:
        """Bounds (N, n) of the change of each entry of an affine node."""
        total = self._passed(number)
        for source, norms in self.graph.rows(number).norms.items():
            total = total + norms * self.reach[source][:, None]
        return total * UP

    def _passed(self, number: int) -> Tensor:
        """What rounding adds to the change of each entry of an affine node (N, n)."""
        total = torch.zeros(self.ball.images, self.graph.nodes[number].size, dtype=torch.float64)
        for at, edge, sizes in self.graph.rows(number).passed:
            error = self.ball.errors[at] + 2 * self.graph.unit * edge.absolute * self.reach[edge.parent]
            total = total + sizes * error[:, None]
        return total * UP

    def _jointly(self, node: Bend, widest: Tensor, weights: Tensor) -> Tensor:
        """Bound (N,) of the norm of the changes of a bend's input, weighted entry by entry (N, n)."""
        separate = norms_upper(widest * weights)
        known = self.graph.rows(node.parent).matrix
        count = int((weights > 0).sum(1).max())
        if known is None or count == 0:
            return separate
        source, matrix = known
        chosen = weights.topk(count, dim=1)
        rows = matrix[chosen.indices] * chosen.values[:, :, None]
        if source in self.limits:
            rows = rows * (self.limits[source].steepest > 0)[:, None, :]
        rest = norms_upper(self._passed(node.parent) * weights)
        return torch.minimum(separate, (joint_norms(rows) * self.reach[source] + rest) * UP)

    def least(self, number: int, rows: Tensor, images: Tensor) -> Tensor:
        """Lower bounds (R,) of the change of ⟨row, node⟩ in the ball of the row's image, the best of a few choices.

        Args:
            number: of the node.
            rows: factors (R, n).
            images: image of each row (R,).
        """
        best = torch.full((len(rows),), -torch.inf, dtype=torch.float64)
        for tilt in TILTS:
            best = torch.maximum(best, self.pull(number, rows, images, tilted(tilt)))
        return best

    def improved(self, number: int, rows: Tensor, images: Tensor, goal: Tensor) -> Tensor:
        """As `least`, with slopes and multipliers that some steps of ascent found; it ends where all reach a goal (R,).

        Args:
            number: of the node.
            rows: factors (R, n).
            images: image of each row (R,).
            goal: a bound that is enough.
        """
        chosen = Chosen()
        best = torch.full((len(rows),), -torch.inf, dtype=torch.float64)
        for tilt in TILTS:
            start = Kept(tilted(tilt))
            found = self.pull(number, rows, images, start)
            chosen.take(start, found > best)
            best = torch.maximum(best, found)
        for step in range(1, STEPS + 1):
            if bool((best > goal).all()) or not chosen.parameters:
                break
            with torch.enable_grad():
                found = self.pull(number, rows, images, chosen)
                gradients = torch.autograd.grad(found.sum(), chosen.parameters)
            chosen.climb(gradients, step)
            best = torch.maximum(best, found.detach())
        return best

    def pull(self, number: int, rows: Tensor, images: Tensor, choose: Slopes) -> Tensor:
        """Lower bounds (R,) of the change of ⟨row, node⟩ in the ball of the row's image.

        Args:
            number: of the node.
            rows: factors (R, n).
            images: image of each row (R,).
            choose: slopes and multipliers at each bend.
        """
        factors = {number: rows}
        found: Tensor = torch.zeros(len(rows), dtype=torch.float64)
        lost = torch.zeros(len(rows), dtype=torch.float64)
        for at in range(number, -1, -1):
            if at not in factors:
                continue
            row = factors.pop(at)
            size = norms_upper(row)
            lost = lost + size * self.ball.errors[at][images]
            match self.graph.nodes[at]:
                case Start():
                    found = found - size * self.radius[images]
                case Affine(edges=edges):
                    for edge in edges:
                        reach = self.reach[edge.parent][images]
                        lost = lost + self.graph.unit * edge.absolute * size * reach
                        lost = lost + _add(factors, edge.parent, edge.adjoint(row), reach)
                case Bend(parent=parent):
                    limits = self.limits[at].at(images)
                    slopes, multiplier = choose(limits, at, row, images)
                    kept = row * slopes
                    least, slack = unit_minima(limits, row, kept, multiplier)
                    found = found + least
                    lost = lost + slack + _add(factors, parent, kept, self.reach[parent][images])
        return found - lost * UP - 1e-13 * found.abs()


def _add(factors: dict[int, Tensor], number: int, row: Tensor, reach: Tensor) -> Tensor:
    """Add to the factors of a node; bound of what the addition loses."""
    if number not in factors:
        factors[number] = row
        return torch.zeros(len(row), dtype=torch.float64)
    factors[number] = factors[number] + row
    return gamma(2) * norms_upper(factors[number]) * reach


class Kept:
    """Slopes and multipliers of another choice, by number of the bend."""

    def __init__(self, choose: Slopes) -> None:
        self._choose = choose
        self.found: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, limits: Limits, at: int, row: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the other choice gives.

        Args:
            limits: of the image of each row.
            at: number of the bend.
            row: factors.
            images: of the rows.
        """
        self.found[at] = self._choose(limits, at, row, images)
        return self.found[at]


class Chosen:
    """Slopes and logarithms of multipliers as parameters, by number of the bend."""

    def __init__(self) -> None:
        self.slopes: dict[int, Tensor] = {}
        self.logs: dict[int, Tensor] = {}
        self._moments: list[tuple[Tensor, Tensor]] = []

    @property
    def parameters(self) -> list[Tensor]:
        """All of them."""
        return [*self.slopes.values(), *self.logs.values()]

    def climb(self, gradients: Sequence[Tensor], step: int) -> None:
        """A step of Adam (Kingma and Ba 2015); torch's own takes seconds to import."""
        self._moments = self._moments or [(torch.zeros_like(g), torch.zeros_like(g)) for g in gradients]
        for place, (parameter, gradient) in enumerate(zip(self.parameters, gradients, strict=True)):
            first, second = self._moments[place]
            first.lerp_(gradient, 0.1)
            second.lerp_(gradient.square(), 0.001)
            length = STEP if parameter.dim() == 2 else 4 * STEP
            ratio = (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-12)
            parameter.data.add_(ratio, alpha=length)

    def take(self, kept: Kept, better: Tensor) -> None:
        """Those of some rows."""
        for at, (slopes, multipliers) in kept.found.items():
            logs = multipliers.clamp_min(SMALL).log()
            if at in self.slopes:
                slopes = torch.where(better[:, None], slopes, self.slopes[at])
                logs = torch.where(better, logs, self.logs[at])
            self.slopes[at], self.logs[at] = slopes.detach().requires_grad_(True), logs.detach().requires_grad_(True)

    def __call__(self, limits: Limits, at: int, row: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """The parameters; the slope of a unit that cannot bend is its own.

        Args:
            limits: of the image of each row.
            at: number of the bend.
            row: factors.
            images: of the rows.
        """
        return torch.where(limits.unstable, self.slopes[at], limits.start), self.logs[at].exp()


def tilted(tilt: float) -> Slopes:
    """Slopes at x, or towards the chord for units where the slope at x is too much; the best of a few multipliers."""

    def choose(limits: Limits, at: int, row: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        hurts = (row * (1.0 - limits.below) < 0) & limits.unstable
        slopes = limits.start + torch.where(hurts, tilt * (limits.chord - limits.start), 0.0)
        bent = torch.where(hurts, row * (1.0 - limits.below), 0.0)
        unit = norms_upper(bent) / limits.joint.clamp_min(1e-300)
        best, multiplier = torch.full_like(unit, -torch.inf), torch.zeros_like(unit)
        bending, factors = limits.units(), row[:, limits.able]
        kept = factors * slopes[:, limits.able]
        for multiple in MULTIPLES:
            minima = _minima(bending, factors, kept, multiple * unit)
            value = minima.sum(1) - multiple * unit * limits.joint.square() / 2
            multiplier = torch.where(value > best, multiple * unit, multiplier)
            best = torch.maximum(best, value)
        return slopes, multiplier

    return choose


def unit_minima(limits: Limits, row: Tensor, kept: Tensor, multiplier: Tensor) -> tuple[Tensor, Tensor]:
    """Lower bound of Σ row·(φ(z + Δ) − φ(z)) − kept·Δ, and of its rounding error an upper bound.

    Args:
        limits: of each row's image.
        row: factors of the result (R, n).
        kept: factors of the input that stand for them; for units that cannot bend, row times their slope.
        multiplier: λ ≥ 0 (R,): with Σ Δ² ≤ joint² over the units that can bend, the least of the sum is at least that
            of each unit with λ Δ² / 2 added, less λ joint² / 2.
    """
    widest = torch.maximum(limits.low, limits.high)
    sizes = (row.abs() * (1 + limits.below.abs()) + kept.abs()) * widest * 2
    bending = limits.units()  # the others are linear, and kept as they are
    minima = _minima(bending, row[:, limits.able], kept[:, limits.able], multiplier)
    curve = multiplier[:, None] * bending.unstable
    slack = gamma(32) * (sizes.sum(1) + (curve * widest[:, limits.able].square()).sum(1))
    slack = slack + gamma(len(limits.able) + 8) * minima.abs().sum(1)
    cost = multiplier * limits.joint.square() / 2
    return minima.sum(1) - cost * UP, slack * UP


def _minima(limits: Limits, row: Tensor, kept: Tensor, multiplier: Tensor) -> Tensor:
    """The least of row·(φ(z + Δ) − φ(z)) − kept·Δ + multiplier·Δ²/2 of each unit (R, n); 0 of one that cannot bend."""
    center, curve, turn = limits.center, multiplier[:, None], row * (1 - limits.below)
    above = _least(row - kept, turn * center.clamp_max(0.0), curve, -center, limits.high)
    under = _least(row - turn - kept, -turn * center.clamp_min(0.0), curve, -limits.low, -center)
    return torch.minimum(above, under).clamp_max(0.0) * limits.unstable


def _least(slope: Tensor, constant: Tensor, curve: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """The least of slope·Δ + curve·Δ²/2 + constant for start ≤ Δ ≤ end."""
    lowest = torch.minimum(torch.maximum(-slope / curve.clamp_min(SMALLEST), start), end)
    return (slope + curve / 2 * lowest) * lowest + constant


def joint_norms(rows: Tensor) -> Tensor:
    """Upper bounds of the spectral norms of a stack of matrices (N, K, m): eigenvalues propose, Cholesky proves."""
    gram = rows @ rows.mT
    trace = torch.diagonal(gram, dim1=1, dim2=2).sum(1)
    largest = torch.linalg.eigvalsh(gram)[:, -1].clamp_min(0.0) * (1 + 1e-9) + 1e-12 * trace + 1e-290
    shifted = largest[:, None, None] * torch.eye(gram.shape[1], dtype=torch.float64) - gram
    failed = torch.linalg.cholesky_ex(shifted).info != 0
    proven = torch.where(failed, trace, largest)
    return (proven + proof_error(gram, float(proven.max()), rows.shape[2])).sqrt() * UP


def _constants(node: Affine) -> float:
    fills = [edge.fill for edge in node.edges if edge.fill is not None]
    parts = [*fills, *([] if node.constant is None else [node.constant])]
    factor = max((edge.absolute for edge in node.edges), default=1.0)
    return sum((factor + 1) * float(torch.linalg.vector_norm(part)) for part in parts) * UP

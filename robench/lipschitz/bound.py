"""A proven upper bound of the Lipschitz constant of any torch model, operation by operation."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float64
from scipy.spatial.distance import pdist, squareform
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from robench.arrays import Array
from robench.devices import own_settings
from robench.errors import BoundError, SpecError
from robench.lipschitz.agreement import check_agreement
from robench.lipschitz.norms.rounding import UNITS, Growth
from robench.lipschitz.plain import in_float32, plain_copy
from robench.lipschitz.rules.boxed import RULES_OVER_BOX
from robench.lipschitz.rules.table import RULES
from robench.lipschitz.scaled import ScaledChain, scaled_chain, scaled_constants
from robench.lipschitz.state import History
from robench.lipschitz.trace.box import Box, box_of
from robench.lipschitz.trace.deployed import Deployed
from robench.lipschitz.trace.linear import Linear, linear_matrix
from robench.lipschitz.trace.nonlinear import Nonlinear
from robench.lipschitz.trace.ranges import Ranges
from robench.lipschitz.trace.signals import BATCH, Row, View
from robench.lipschitz.trace.trace import Trace
from robench.lipschitz.trace.walk import walk
from robench.models import Model, ReadModel, hold_any
from robench.models.identity.contents import contents_digest
from robench.models.networks.widened import Widened, widened
from robench.models.user_code.blame import late_blamed
from robench.numerics import gamma, round_down, round_up

MAX_OUTPUTS = 2048
"""More outputs than this are not taken for classes: no head, no pairwise table."""
GAIN = 0.999
HEAD_ENTRIES = 32_000_000
PROBES, POWER_STEPS, STEP, FAST_STEP = 2, 6, 1e-4, 1e-3
"""Points, steps of the power iteration at each, and the length of the differences, in input units, by arithmetic."""
LONG_STEPS = (1e-2, 1e-1)
"""Over a box the error is a constant, which may hide what a short step shows."""


@dataclass(frozen=True, eq=False)
class Head:
    """The last linear map, from the last nonlinearity to the logits.

    Fields:
        weight: all linear operations after the last nonlinear one, joined.
        bias: its constant.
        kind: `joint` if √2·‖W‖ is at most twice the largest row norm, so that the paper's rule for heads that are
            1-Lipschitz as a whole is the better one; else `unit_rows`. Both rules hold for every head, each with its
            own constant.
    """

    weight: Float64[Array, "q d"]
    bias: Float64[Array, " q"]
    kind: Literal["unit_rows", "joint"]


@dataclass(frozen=True)
class LayerBound:
    """The bound of one layer.

    Fields:
        name: module path; several operations that were bounded as one map are joined by `+`.
        operation: what it does.
        upper: bound of the constant of this operation alone (a sum of signals: of the network up to here).
    """

    name: str
    operation: str
    upper: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {"name": self.name, "operation": self.operation, "lipschitz_upper": self.upper}


@dataclass(frozen=True, eq=False)
class LipschitzBound:
    """What is proven about a network.

    Fields:
        upper: of the whole network, L2 to L2, rounded up.
        lower: a slope that was found: the true constant lies between the two.
        head: the last linear map, if there is one.
        body_upper: bound of everything before the head; of the whole network if there is none.
        pairwise: upper bounds of Lip(f_i − f_j); of one logit Lip(f); None where the outputs are no row
            of logits, or more than 2048.
        paper: constant that the paper's rule divides by: radius = |f|/paper, or top-2 gap/paper; None as `pairwise`.
        chain: the end of the network for which smaller constants of pairs are known than `pairwise`; None where it is
            not of that kind.
        layers: the bound of each layer, in order.
        rounding: by arithmetic, (a, b): computed logits are within a·‖x‖ + b of the exact ones, L2 norm.
        by_class: of float64, (a, b, own): the error splits in a vector of norm at most a·‖x‖ + b, and own (q,) for each
            logit alone, which is what rounding of its bias costs; None where it does not split.
        unbounded: why `rounding` says nothing about float32, if so.
        fingerprint: SHA-256 of the module that was bounded, parametrizations computed (see `fingerprint`).
        input_shape: of the inputs for which all this holds, without the batch.
        box: least and greatest value of an entry of the inputs for which all this holds; None for the whole space.
        unproven: the operation of which the rounding error has no bound in float64, if there is one: no certificate.
    """

    upper: float
    lower: float
    head: Head | None = field(repr=False)
    body_upper: float
    pairwise: Float64[Array, "q q"] | None = field(repr=False)
    paper: float | None
    layers: tuple[LayerBound, ...]
    rounding: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    by_class: tuple[float, float, Float64[Array, " outputs"]] | None = field(default=None, repr=False)
    unbounded: str = ""
    fingerprint: str = field(default="", repr=False)
    input_shape: tuple[int, ...] = ()
    box: tuple[float, float] | None = None
    chain: ScaledChain | None = field(default=None, repr=False, compare=False)
    unproven: str = ""

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules of certification that it has constants for; none where the outputs are no row of logits."""
        if self.pairwise is None:
            return ()
        return ("paper", "pairwise") if self.scaled is None else ("paper", "pairwise", "scaled")

    @cached_property
    def scaled(self) -> Float64[Array, "q q"] | None:
        """Upper bounds of Lip(f_i − f_j) by the rule `scaled`, never above `pairwise`.

        None where there is no chain, or where no constant is smaller by more than a thousandth, as behind layers of
        constant 1. They are computed when they are first asked for, which takes a second or two at the size of MNIST.
        """
        if self.chain is None or self.pairwise is None:
            return None
        found = scaled_constants(self.chain)
        if found is None or not (found < GAIN * self.pairwise).any():
            return None
        return np.minimum(found, self.pairwise)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "lipschitz_upper": self.upper,
            "lipschitz_lower": self.lower,
            "body_upper": self.body_upper,
            "head": None if self.head is None else self.head.kind,
            "rules": list(self.rules),
            "box": None if self.box is None else list(self.box),
            "rounding": {name: list(pair) for name, pair in self.rounding.items()},
            "layers": [layer.to_dict() for layer in self.layers],
        }


def fingerprint(module: nn.Module) -> str:
    """SHA-256 of all that a module holds: parameters, buffers, plain attributes, hooks, and a user's code."""
    return contents_digest(module)


def lipschitz_bound(
    model: Model | ReadModel, input_shape: Sequence[int] | None = None, *, box: Sequence[float] | None = None
) -> LipschitzBound:
    """Bound the Lipschitz constant of a model, L2 to L2, over all of its input space or a box.

    Of a classifier it is the constant of the logits: a sigmoid or softmax at the end, which changes no class, is taken
    off. Of what gives no row of logits (a feature extractor, a segmentation network) it is the constant of the outputs,
    all of them one vector.

    Args:
        model: any torch module in evaluation mode, which stays as it is; or a path, or what `load_model` returns.
        input_shape: of one input, without the batch; may be left out where a path or a loaded model tells it.
        box: least and greatest value of an entry of the inputs that the bound shall hold for, such as (0, 1) for
            images; None for the whole space. Products of signals, attention and layer norm have a finite constant over
            a box alone. It may be huge.

    Raises:
        BoundError: an operation has no rule, or depends on the batch; it is named.
        SpecError: the shape, or the box, is none.
        ModelError: the model is in training mode, is random, does not take that shape, or gives something else than one
            tensor of finite numbers.

    Examples:
        A diagonal map, which stretches by 3 at most:

        >>> import torch, robench
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.diag(torch.tensor([2.0, -3.0])))
        >>> bound = robench.lipschitz_bound(model.eval(), (2,))
        >>> round(bound.lower, 3), round(bound.upper, 3), [layer.operation for layer in bound.layers]
        (3.0, 3.0, ['dense'])
        >>> round(float(bound.pairwise[0, 1]) ** 2, 3)  # Lip(f_0 − f_1)² = 2² + 3²
        13.0
    """
    with own_settings(), late_blamed():
        held = hold_any(model, None if input_shape is None else _shape(input_shape))
        return bound_module(held.module, held.input_shape, box)


def _shape(given: Any) -> tuple[int, ...]:
    """The shape of an input as integers."""
    try:
        return tuple(operator.index(side) for side in given)
    except TypeError:
        raise SpecError(
            f"`input_shape` is {given!r}", hint="give the shape of one input, without the batch, such as (1, 28, 28)"
        ) from None


def bound_module(module: nn.Module, input_shape: tuple[int, ...], box: Sequence[float] | None = None) -> LipschitzBound:
    """Bound the Lipschitz constant of a module as it stands, L2 to L2, over all of its input space or a box.

    Args:
        module: any torch module in evaluation mode; it is not changed.
        input_shape: of one input, without the batch.
        box: as of `lipschitz_bound`.

    Raises:
        BoundError: an operation has no rule, is random, depends on the batch, or the model is in training mode.
    """
    if any((torch_module._global_forward_hooks, torch_module._global_forward_pre_hooks)):
        raise BoundError("torch has global forward hooks, which may change any layer", hint="remove them")
    plain = plain_copy(module)
    _refuse_non_finite(plain)
    mark = fingerprint(plain)
    network = widened(plain)
    inner = network.module if isinstance(network, Widened) else network
    within = box_of(box, tuple(input_shape))
    trace = Trace(
        RULES if within is None else RULES_OVER_BOX,
        Deployed(in_float32(plain_copy(plain))),
        ranges=None if within is None else Ranges(within),
    )
    start = trace.start(tuple(input_shape))
    with torch.no_grad():
        history = History(network, tuple(input_shape), within)
        output = walk(trace, inner, start)
        if output.shape[0] != BATCH:
            raise BoundError("the model mixes the samples of a batch", hint="return one row of logits a sample")
        upper = output.lipschitz
        if not math.isfinite(upper):
            raise BoundError("the bound is infinite", hint="rescale the weights of the model")
        errors = {name: _anywhere(output.error(name), within) for name in UNITS}
        if trace.deployed.unbounded and not trace.deployed.other_function:
            errors["float32"] = Growth(math.inf, math.inf)
        history.check(errors["float64"].slope, errors["float64"].offset)
        check_agreement(network, trace, tuple(input_shape), output, errors)
        if trace.deployed.unbounded:
            del errors["float32"]
    lower = _slope_found(network, plain, tuple(input_shape), errors["float64"], within)
    if lower > upper:
        raise BoundError(
            f"a slope of {lower:.6g} was found above the bound {upper:.6g}",
            hint="fix the registered rule: it returns too small a constant",
        )
    head, body, error = _head(output)
    classes = output.size if len(output.shape) == 2 and output.size <= MAX_OUTPUTS else 0
    each = _of_each(output) if classes and head is None else None
    pairwise, paper = _constants(classes, head, error, body, upper, each) if classes else (None, None)
    return LipschitzBound(
        upper=upper,
        lower=lower,
        head=head,
        body_upper=body,
        pairwise=pairwise,
        paper=paper,
        layers=tuple(_table(output)),
        rounding={name: (error.slope, error.offset) for name, error in errors.items() if error.finite},
        by_class=_by_class(output, within),
        unbounded=trace.deployed.unbounded,
        fingerprint=mark,
        input_shape=tuple(input_shape),
        box=None if within is None else (within.low, within.high),
        chain=scaled_chain(output) if classes else None,
        unproven="" if errors["float64"].finite else _unproven(output),
    )


def _unproven(output: View) -> str:
    """The first operation that the output depends on of which the float64 error has no bound."""
    found, queue = {}, [output.signal]
    while queue:
        signal = queue.pop()
        if signal.order not in found and not signal.rough_error("float64").finite:
            found[signal.order] = f"`{signal.operation}` in `{signal.name}`"
            queue.extend(view.signal for view in signal.inputs)
    return found[min(found)] if found else ""


def _anywhere(error: Growth, box: Box | None) -> Growth:
    """An error by the norm of the input; over a box, where it grows with the distance from the center, the largest."""
    return error if box is None else Growth(0.0, box.at(error))


def _by_class(output: View, box: Box | None) -> tuple[float, float, Array] | None:
    """The float64 error with what each class's own bias costs apart, so that masked classes cost the others nothing."""
    signal = output.signal
    split = signal.error_by_entry("float64") if isinstance(signal, Linear) and output.whole else None
    if split is None or not split[0].finite or len(split[1]) != output.size:
        return None
    shared = _anywhere(split[0], box)
    return shared.slope, shared.offset, split[1].numpy()


def _refuse_non_finite(module: nn.Module) -> None:
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BoundError(
                f"`{name}` holds NaN or infinity",
                hint="train the model again; a network with such weights has no Lipschitz constant",
            )


def _head(output: View) -> tuple[Head | None, float, float]:
    """The linear map after the last nonlinearity, the bound of what is before it, and the error of its matrix."""
    source = output.signal.source
    outputs = output.size
    if not isinstance(output.signal, Linear) or outputs > MAX_OUTPUTS or outputs * source.size > HEAD_ENTRIES:
        return None, output.lipschitz, 0.0
    matrix, error = linear_matrix(output)
    bias = output.zero.reshape(BATCH, -1)[0] - matrix @ source.zero.reshape(BATCH, -1)[0]
    weight = matrix.numpy()
    rows = float(np.linalg.norm(weight, axis=1).max(initial=0.0))
    whole = output.lipschitz / source.lipschitz if source.lipschitz > 0 else 0.0
    kind: Literal["unit_rows", "joint"] = "joint" if math.sqrt(2) * whole <= 2 * rows else "unit_rows"
    return Head(weight, bias.numpy(), kind), source.lipschitz, error


def _of_each(output: View) -> Array | None:
    """An upper bound of the constant of each entry, where it is a known function of a linear map, or of constant 1."""
    signal = output.signal
    bounds: Array | None = None
    if isinstance(signal, Linear):
        head, body, error = _head(signal.whole)
        if head is not None:
            rows = np.linalg.norm(head.weight, axis=1) * (1 + gamma(head.weight.shape[1] + 16)) + error
            bounds = rows * body * (1 + 2.0**-50)
    elif isinstance(signal, Nonlinear) and len(signal.inputs) == 1:
        if signal.function.each is not None:
            bounds = np.full(signal.size, signal.function.each * signal.joint * (1 + 2.0**-50))
        elif signal.function.entrywise:
            before = _of_each(signal.inputs[0])
            bounds = None if before is None else before * signal.function.slope * (1 + 2.0**-50)
    return None if bounds is None else np.concatenate(([0.0], bounds))[output.flat_index.numpy()]


def _constants(
    outputs: int, head: Head | None, error: float, body: float, upper: float, each: Array | None = None
) -> tuple[Array, float]:
    """Lip(f_i − f_j) for each pair, and the constant of the paper's rule.

    Args:
        outputs: number of logits.
        head: the last linear map, if there is one.
        error: norm of the error of its matrix.
        body: bound of what is before it.
        upper: bound of all logits.
        each: bounds of the logits one by one, where there is no head: Lip(f_i − f_j) ≤ Lip(f_i) + Lip(f_j).
    """
    if outputs == 1:
        return np.full((1, 1), upper), upper
    joint = round_up(round_up(math.sqrt(2)) * upper)
    pairwise = np.full((outputs, outputs), joint)
    paper = joint
    if head is not None:
        inflate = 1 + gamma(head.weight.shape[1] + 16)
        distances = squareform(pdist(head.weight))
        distances = np.nextafter((distances * inflate + 2 * error) * body * (1 + 2.0**-50), np.inf)
        pairwise = np.minimum(pairwise, distances)
        rows = float(np.linalg.norm(head.weight, axis=1).max()) * inflate + error
        paper = min(joint, round_up(2 * rows * body * (1 + 2.0**-50)))
    elif each is not None:
        sums = np.nextafter(each[:, None] + each, np.inf)
        pairwise, paper = np.minimum(pairwise, sums), min(joint, float(sums.max()))
    np.fill_diagonal(pairwise, 0.0)
    return np.maximum(pairwise, pairwise.T), paper


def _table(output: View) -> list[LayerBound]:
    """Signals that the output depends on, in order; operations that were joined are one row."""
    rows: dict[int, Row] = {}
    queue = [output.signal]
    while queue:
        signal = queue.pop()
        if signal.order in rows or not signal.inputs:
            continue
        row = rows[signal.order] = signal.row
        queue.extend(view.signal for view in row.inputs)
    return [LayerBound(row.name, row.operation, row.bound) for _, row in sorted(rows.items())]


def _slope_found(network: nn.Module, plain: nn.Module, shape: tuple[int, ...], error: Growth, box: Box | None) -> float:
    """The largest slope ‖f(z) − f(x)‖ / ‖z − x‖ found at a few points: a lower bound, rounding errors subtracted."""
    generator = torch.Generator().manual_seed(0)
    points, directions = torch.rand(2, PROBES, *shape, dtype=torch.float64, generator=generator)
    if box is not None:
        points = box.place(points)
    directions = _steepest(plain, points, directions - 0.5)
    lengths = torch.linalg.vector_norm(directions.flatten(1), dim=1).reshape(-1, *(1 for _ in shape))
    found = [0.0]
    for step in (STEP,) if box is None else (STEP, *LONG_STEPS):
        moved = points + directions * (step / lengths)
        moved = moved if box is None else moved.clamp(box.low, box.high)
        with torch.no_grad():
            differences = network(moved) - network(points)
        found += [_slope(*rows, error) for rows in zip(points, moved, differences, strict=True)]
    return max(found)


def _steepest(plain: nn.Module, points: Tensor, directions: Tensor) -> Tensor:
    """Directions after a power iteration on the Jacobian at each point, with differences for J v and autograd for Jᵀ u.

    In float32, which is several times faster: a direction need not be exact.
    """
    fast = plain_copy(plain).float()
    wide = (-1, *(1 for _ in points.shape[1:]))
    try:
        with torch.enable_grad():
            at = points.float().requires_grad_(True)
            logits = fast(at)
            for _ in range(POWER_STEPS):
                lengths = torch.linalg.vector_norm(directions.flatten(1), dim=1).reshape(wide)
                with torch.no_grad():
                    pushed = fast(at + (directions * (FAST_STEP / lengths)).float()) - logits
                (pulled,) = torch.autograd.grad((logits * pushed).sum(), at, retain_graph=True)
                usable = pulled.isfinite().flatten(1).all(dim=1) & pulled.flatten(1).any(dim=1)
                directions = torch.where(usable.reshape(wide), pulled.double(), directions)
    except Exception:  # user code: anything
        pass  # no gradient, or nothing in float32: the directions so far
    return directions


def _slope(point: Tensor, moved: Tensor, difference: Tensor, error: Growth) -> float:
    """A proven lower bound of the slope between two points of which the outputs have this difference."""
    reach = error.slope * float(torch.linalg.vector_norm(moved) + torch.linalg.vector_norm(point)) + 2 * error.offset
    length = float(torch.linalg.vector_norm(moved - point)) * (1 + gamma(point.numel() + 8))
    slope = (float(torch.linalg.vector_norm(difference)) * (1 - gamma(difference.numel() + 8)) - reach * 1.01) / length
    return max(0.0, round_down(slope, 4))

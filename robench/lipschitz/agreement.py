"""Whether the function that was traced is the one that the model computes, however the model is called.

A model may ask for the gradient mode, the precision, the layout in memory, the size of the batch or whether it is being
exported, and do something else for each. Such branches are not in the traced graph, so a few points are tried each way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robench.errors import BoundError
from robench.lipschitz.norms.rounding import Growth
from robench.lipschitz.plain import plain_copy
from robench.lipschitz.trace.box import Box
from robench.lipschitz.trace.signals import BATCH, View
from robench.lipschitz.trace.trace import Trace

SCALES = (0.0, 1.0, 10.0, 1000.0)
"""Of the normal points; the first point is uniform on [0, 1], where inputs usually lie and a branch may do nothing."""
STATISTICS = (
    "the model gives a sample other logits alone than in a batch, or is random",
    "remove layers that use statistics of the batch, and call `model.eval()`",
)


class Way(NamedTuple):
    """Logits of some of the points, computed in some way, and what to say where they are others than elsewhere."""

    first: int
    logits: Tensor
    arithmetic: str
    what: str
    hint: str


def check_agreement(
    network: nn.Module, trace: Trace, shape: tuple[int, ...], output: View, errors: Mapping[str, Growth]
) -> None:
    """Compare the logits of the model for one sample with those of every other way to call it, and of the trace.

    Args:
        network: the plain copy of the model, float64.
        trace: the walk through it.
        shape: of one input.
        output: what the walk made of it.
        errors: bounds of the rounding error, by arithmetic.

    Raises:
        BoundError: two of them are further apart than rounding explains.
    """
    box = None if trace.ranges is None else trace.ranges.box
    points = _points(shape) if box is None else _points_of(box)
    with torch.no_grad():
        alone = [network(points[k : k + 1].clone())[0] for k in range(len(points))]
        zero = network(trace.start(shape).zero.clone())
    lengths = [float(torch.linalg.vector_norm(point)) for point in points]
    if not all(bool(torch.isfinite(logits).all()) for logits in alone):
        raise BoundError(
            "the model gives NaN or infinity at inputs of size 1000, such as exp(x) that overflows",
            hint="write it without overflow: torch.nn.functional.softplus for log(1 + exp(x)), torch.logsumexp",
        )
    for way in _ways(network, trace, points):
        for row, logits in enumerate(way.logits):
            own, other = (errors[name] for name in ("float64", way.arithmetic))
            error = own + other
            allowed = error.slope * lengths[way.first + row] + error.offset + 1e-300
            if not _close(logits.double(), alone[way.first + row], allowed):
                raise BoundError(way.what, hint=way.hint)
    if not _close(zero[0], output.zero[0], 2 * errors["float64"].offset + 1e-300):
        what, hint = _differs("outside of the run that was traced")
        raise BoundError(what, hint=hint)


def _points(shape: tuple[int, ...]) -> Tensor:
    """Points that float32 holds as well, of sizes from 1 to 1000, of either sign."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(len(SCALES), *shape, generator=generator)
    scaled = points * torch.tensor(SCALES).reshape(-1, *(1 for _ in shape))
    scaled[0] = torch.rand(shape, generator=generator)
    return scaled.double()


def _points_of(box: Box) -> Tensor:
    """Points of a box that float32 holds as well: some anywhere, one in a corner."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(len(SCALES), *box.shape, generator=generator)
    points[-1] = points[-1].round()
    low, high = torch.tensor([box.low, box.high])
    inner = torch.nextafter(low, high), torch.nextafter(high, low)  # float32 sides may lie outside
    return torch.lerp(*inner, points).clamp(*inner).double()


def _ways(network: nn.Module, trace: Trace, points: Tensor) -> list[Way]:
    ways = []
    with torch.no_grad():
        ways.append(Way(0, network(points.clone()), "float64", *STATISTICS))
        ways.append(Way(2, network(points[2:].clone()), "float64", *STATISTICS))
        if not all(isinstance(step, nn.Module) for step in trace.steps):
            for first in range(0, len(points), BATCH):
                replayed = trace.replay(points[first : first + BATCH].clone())
                ways.append(Way(first, replayed, "float64", *_differs("outside of the run that was traced")))
    ways += _recorded(network, points[1:])
    for what, laid_out in _layouts(points[1:]):
        ways += _tried(network, 1, laid_out, "float64", f"on inputs in a {what}")
    deployed = network if trace.deployed.network is None else trace.deployed.network
    return ways + _tried(plain_copy(deployed).float(), 2, points[2:].float(), "float32", "in float32")


def _recorded(network: nn.Module, points: Tensor) -> list[Way]:
    """With gradients recorded: of nothing, of the input and every weight, and of what the input is computed from."""
    with torch.enable_grad():
        switched = Way(1, network(points.clone()).detach(), "float64", *_differs("with gradients switched on"))
    weights = [parameter for parameter in network.parameters() if parameter.is_floating_point()]
    for weight in weights:
        weight.requires_grad_(True)
    recorded = _tried(network, 1, points.clone().requires_grad_(True), "float64", "with gradients recorded")
    with torch.enable_grad():
        computed = points[1:].clone().requires_grad_(True) + 0.0
    recorded += _tried(network, 2, computed, "float64", "on inputs that another network computes, with gradients")
    for weight in weights:
        weight.requires_grad_(False)
    return [switched, *recorded]


def _layouts(points: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The same points in other layouts in memory."""
    if points.dim() == 4:
        yield "channels-last layout", points.clone().contiguous(memory_format=torch.channels_last)
    yield "strided layout", torch.stack((points, points), dim=-1)[..., 1]


def _tried(network: nn.Module, first: int, inputs: Tensor, arithmetic: str, how: str) -> list[Way]:
    """A way that a model need not support: no other logits come of a call that fails, or overflows."""
    with torch.set_grad_enabled(inputs.requires_grad):
        try:
            logits = network(inputs).detach()
        except Exception:  # of the user's code, of any kind
            return []
    return [Way(first, logits, arithmetic, *_differs(how))] if bool(torch.isfinite(logits).all()) else []


def _differs(how: str) -> tuple[str, str]:
    return (
        f"the model gives other logits when it is called {how}",
        "remove control flow that depends on values, flags, the precision or the layout of the input",
    )


def _close(a: Tensor, b: Tensor, allowed: float) -> bool:
    if a.shape != b.shape or not math.isfinite(allowed):
        return a.shape == b.shape
    return float(torch.linalg.vector_norm(a - b)) <= allowed

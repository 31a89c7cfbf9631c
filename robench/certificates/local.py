"""The rule `local`: radii from what holds in the ball around one image alone (docs/design/0017-local.md).

The class of an image is proven in a ball where the difference to each other logit stays above 0. The radius is bisected
from what the other rules prove upwards, so it is never below theirs.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor, nn

from robench.arrays import Array, Singles
from robench.certificates.radii import Radii, logit_errors, norms_upper
from robench.devices import exact_arithmetic
from robench.errors import BoundError
from robench.lipschitz import LipschitzBound
from robench.lipschitz.local import Ball, Graph, Within, network_graph
from robench.specs.evaluation import DeployDtype

PROBE = 0.01
"""The first radius that is tried, by how much it is above the one that is known.

Where that fails, or the linear function at x has another class so near already, nothing is gained."""
BEYOND = 1.5
"""The largest radius that is tried, in units of the distance at which the linear function at x changes class."""
TOGETHER = 1
"""Images at a time: one, so that its radius does not depend on what stands beside it."""
HALVINGS = 6
"""Of the interval between the radius that is known and the largest one; again with an ascent."""


class Local:
    """The rule, ready for a network.

    Args:
        network: float64.
        bound: of it.
        deploy_dtype: arithmetic of the deployed network.

    Raises:
        BoundError: the network has an operation that the rule does not know.
    """

    def __init__(self, network: nn.Module, bound: LipschitzBound, deploy_dtype: DeployDtype) -> None:
        self._graph = network_graph(copy.deepcopy(network).cpu(), bound.input_shape)
        self._bound, self._deploy_dtype = bound, deploy_dtype

    def __call__(
        self, inputs: Float32[Singles, "n ..."], logits: Float64[Array, "n q"], found: Radii
    ) -> Float64[Array, " n"]:
        """Radii of a batch.

        Args:
            inputs: images.
            logits: of the network.
            found: what the constants prove.
        """
        flat = inputs.reshape(len(inputs), -1).astype(np.float64)
        norms = norms_upper(inputs)
        errors = logit_errors(self._bound, logits.shape[1], norms, self._deploy_dtype)
        self._compare(flat, logits, norms)
        known = np.max(list(found.by_rule.values()), axis=0)
        given = (flat, found.predicted, errors.between(found.predicted), known)
        tensors = [torch.from_numpy(np.ascontiguousarray(item)) for item in given]
        with exact_arithmetic():
            parts = [
                local_radii(self._graph, x, predicted, error, errors.growth, start)
                for x, predicted, error, start in zip(*(torch.split(item, TOGETHER) for item in tensors), strict=True)
            ]
        return torch.cat(parts).numpy() if parts else known

    def _compare(self, flat: Array, logits: Array, norms: Array) -> None:
        """Refuse a graph that is seen to be another function than the network."""
        ball = Ball(self._graph, torch.from_numpy(flat))
        slope, offset = self._bound.rounding["float64"]
        apart = np.linalg.norm(ball.values[-1].numpy() - logits, axis=1)
        if not (apart <= ball.distances[-1].numpy() + slope * norms + offset).all():
            raise BoundError(
                f"the rule `local` computes logits that are {apart.max():.3g} from those of the network",
                hint="certify without it, and report the model",
            )


def local_radii(
    graph: Graph, inputs: Tensor, predicted: Tensor, errors: Tensor, growth: float, known: Tensor
) -> Tensor:
    """Radii (N,) within which the predicted class is proven, not below those that are known.

    Args:
        graph: of the network.
        inputs: (N, size), float64.
        predicted: classes (N,).
        errors: bound of the error of each difference of logits of the deployed network at the input (N, q); of one
            logit (N, 1).
        growth: by how much the error grows with the distance.
        known: radii that are proven already (N,); nothing is tried for an image where it is 0.
    """
    search = _Search(Ball(graph, inputs), predicted, errors, growth)
    low, linear = known.clone(), search.linear()
    high = torch.maximum(linear * BEYOND, known)
    probe = known * (1 + PROBE)
    tried = (known > 0) & (linear > probe)
    gained = search.holds(probe, tried, ascent=False)
    late = tried & ~gained
    late[late.clone()] = search.holds(probe, late, ascent=True)[late]
    low = torch.where(gained | late, probe, low)
    tried = gained | late
    exact = linear * (1 - 2.0**-20)  # what is proven of a network that is linear in the ball
    low = torch.where(search.holds(exact, tried & (exact > low), ascent=False), exact, low)
    for ascent in (False, True):
        top = torch.minimum(high, low * 2) if ascent else high
        for _ in range(HALVINGS):
            middle = (low + top) / 2
            held = search.holds(middle, tried & (middle > low), ascent=ascent)
            low, top = torch.where(held, middle, low), torch.where(held, top, middle)
    return low


class _Search:
    """Whether classes are proven at given radii."""

    def __init__(self, ball: Ball, predicted: Tensor, errors: Tensor, growth: float) -> None:
        self.ball, self.growth = ball, growth
        logits = ball.values[-1]
        images, outputs = logits.shape
        own = torch.arange(images)
        if outputs == 1:
            self.rows = torch.where(predicted > 0, 1.0, -1.0).double().reshape(images, 1, 1)
        else:
            self.rows = -torch.eye(outputs, dtype=torch.float64).repeat(images, 1, 1)
            self.rows[own, :, predicted] += 1.0
        differences = torch.einsum("nqk,nk->nq", self.rows, logits)
        # each is a sum of at most two numbers, so rounded once
        self.margins = differences - errors - 2.0**-50 * (differences.abs() + errors)
        self.asked = self.rows.abs().sum(2) > 0

    def linear(self) -> Tensor:
        """About the distance at which the linear function that the network is at each input has another class."""
        images, places = torch.nonzero(self.asked, as_tuple=True)
        slopes = torch.zeros_like(self.margins)
        slopes[images, places] = self.ball.slopes(len(self.ball.values) - 1, self.rows[images, places], images)
        return torch.where(self.asked, self.margins.clamp_min(0.0) / slopes.clamp_min(1e-300), torch.inf).amin(1)

    def holds(self, radius: Tensor, tried: Tensor, *, ascent: bool) -> Tensor:
        """Whether the class is proven within each radius, for the images that are tried."""
        images = torch.nonzero(tried).reshape(-1)
        held = torch.zeros_like(tried)
        if len(images):
            held[images] = self._hold(self.ball.of(images), images, radius[images], ascent)
        return held

    def _hold(self, ball: Ball, images: Tensor, radius: Tensor, ascent: bool) -> Tensor:
        within: Within = ball.within(radius)
        asked = self.asked[images]
        left = torch.where(asked, self.margins[images] - self.growth * radius[:, None] * (1 + 2.0**-50), torch.inf)
        last = len(ball.values) - 1
        image, place = torch.nonzero(asked, as_tuple=True)
        rows, goal = self.rows[images][image, place], -left[image, place]
        least = within.least(last, rows, image)
        if ascent:
            short = least <= goal
            if bool(short.any()):
                least[short] = within.improved(last, rows[short], image[short], goal[short])
        proven = torch.ones_like(asked)
        proven[image, place] = least > goal
        return proven.all(1)

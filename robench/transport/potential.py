"""What the paper says of a two-class f as a transport potential: Fig. 1 and 2, Eq. (4), Proposition 1, Theorem 2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64

from robench.arrays import Array, Flags, Integers
from robench.data import Dataset
from robench.errors import ModelError
from robench.lipschitz import LipschitzBound, plain_copy
from robench.models.networks.widened import widened
from robench.statistics.predictions import Prediction, accuracy_facts, record_flags
from robench.transport.linear_program import Optimum

UNIT_SLACK = 0.05
"""A gradient norm this near to 1 counts as 1."""
GRID_POINTS = 201
BORDER = 0.35
"""The level map reaches so far past the points, in their units."""
BATCH = 500
SHOWN: dict[str, Callable[[Array], Any]] = {"min": np.min, "mean": np.mean, "max": np.max}


@dataclass(frozen=True)
class Potential:
    """f on a sample, in float64.

    Fields:
        index: position in the split.
        positive: whether the class is +1.
        values: f.
        gradients: of f at each point, flat.
    """

    index: Int64[Integers, " n"]
    positive: Bool[Flags, " n"]
    values: Float64[Array, " n"]
    gradients: Float64[Array, "n d"]

    @property
    def gradient_norms(self) -> Float64[Array, " n"]:
        """L2 norm of the gradient of f at each point."""
        return np.asarray(np.linalg.norm(self.gradients, axis=1))

    def kantorovich_rubinstein(self) -> float:
        """E_{P+}[f] - E_{P-}[f], the part of -L^hKR without the hinge."""
        return float(self.values[self.positive].mean() - self.values[~self.positive].mean())

    def hinge(self, margin: float) -> float:
        """E[(m - Y f)_+] over all examples."""
        signed = np.where(self.positive, self.values, -self.values)
        return float(np.maximum(margin - signed, 0.0).mean())

    def overlap(self) -> float:
        """Share of the examples whose value lies on the other class's side of some example of that class.

        0 if and only if a threshold separates the two output distributions.
        """
        lowest, highest = self.values[self.positive].min(), self.values[~self.positive].max()
        inside = np.where(self.positive, self.values <= highest, self.values >= lowest)
        return float(inside.mean())

    def predictions(self) -> list[Prediction]:
        """True and predicted class of each example; f = 0 is the first class."""
        found = zip(self.positive.astype(int).tolist(), (self.values > 0).astype(int).tolist(), strict=True)
        return [Prediction(*pair) for pair in found]

    def describe(self) -> dict[str, Any]:
        """Facts on outputs and gradients as plain data."""
        classes = {
            name: {"n": int(chosen.sum()), **{key: float(f(self.values[chosen])) for key, f in SHOWN.items()}}
            for name, chosen in (("negative", ~self.positive), ("positive", self.positive))
        }
        norms = self.gradient_norms
        return {
            **accuracy_facts(self.predictions()),
            "flags": [flag._asdict() for flag in record_flags(self.predictions())],
            "outputs": classes,
            "overlap": self.overlap(),
            "gradient_norm": {
                "quantiles": {str(q): float(np.quantile(norms, q)) for q in (0.0, 0.05, 0.5, 0.95, 1.0)},
                f"share_within_{UNIT_SLACK}_of_1": float((np.abs(norms - 1) <= UNIT_SLACK).mean()),
            },
        }


class Levels(NamedTuple):
    """f on a grid of the plane.

    Fields:
        x, y: coordinates.
        values: f.
    """

    x: Float64[Array, " a"]
    y: Float64[Array, " b"]
    values: Float64[Array, "b a"]


def level_map(model: torch.nn.Module, points: Float64[Array, "n 2"]) -> Levels:
    """Values of f around points of the plane."""
    low, high = points.min(axis=0) - BORDER, points.max(axis=0) + BORDER
    x, y = (np.linspace(a, b, GRID_POINTS) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    with torch.no_grad():
        values = widened(plain_copy(model))(torch.from_numpy(grid)).numpy()
    return Levels(x, y, values.reshape(GRID_POINTS, GRID_POINTS))


def measure(model: torch.nn.Module, dataset: Dataset) -> Potential:
    """Values of f and its gradient norms on a data set.

    Args:
        model: of one logit.
        dataset: of two classes; the second is +1.

    Raises:
        ModelError: f is not finite on an input.
    """
    network = widened(plain_copy(model))
    values, gradients = [], []
    for start in range(0, len(dataset), BATCH):
        rows = np.arange(start, min(start + BATCH, len(dataset)))
        inputs = torch.from_numpy(dataset.batch(rows)).double().requires_grad_()
        f = network(inputs)[:, 0]
        if not f.requires_grad:
            raise ModelError(
                "the model gives no gradient",
                hint="its `forward` must run with gradients, and must not detach its output",
            )
        (gradient,) = torch.autograd.grad(f.sum(), inputs)
        values.append(f.detach().numpy())
        gradients.append(gradient.flatten(1).numpy())
    found = Potential(dataset.index, dataset.labels == 1, np.concatenate(values), np.concatenate(gradients))
    if not np.isfinite(found.values).all():
        raise ModelError("the model gives logits that are not finite", hint="train it again with a lower rate")
    return found


class Duality(NamedTuple):
    """Both sides of Theorem 2 on a sample.

    Fields:
        alpha, margin: of the hinge.
        lipschitz_upper: the Lipschitz bound L of f.
        reached: -L^hKR of f / max(1, L), which is 1-Lipschitz: its first part less alpha times its second.
        kantorovich_rubinstein: the first part.
        hinge: the second part.
        optimum: -L^hKR at most, of any 1-Lipschitz function on these points.
        transported: the part of the optimum that is the cost of the plan.
        gap: optimum less reached.
        share: reached over optimum; None where the optimum is not above 0.
        exceeded: whether f does better than a 1-Lipschitz function can, beyond the solver's tolerance. Its Lipschitz
            constant is then larger than its bound.
    """

    alpha: float
    margin: float
    lipschitz_upper: float
    reached: float
    kantorovich_rubinstein: float
    hinge: float
    optimum: float
    transported: float
    gap: float
    share: float | None
    exceeded: bool


def compare(found: Potential, optimum: Optimum, bound: LipschitzBound, *, alpha: float, margin: float) -> Duality:
    """Hold f, made 1-Lipschitz by its Lipschitz bound, against the optimum of the transport problem.

    Args:
        found: f on the points.
        optimum: of the transport problem on the same points.
        bound: of the Lipschitz constant of f.
        alpha: weight of the hinge.
        margin: of the hinge.
    """
    scaled = Potential(found.index, found.positive, found.values / max(1.0, bound.upper), found.gradients)
    separation, hinge = scaled.kantorovich_rubinstein(), scaled.hinge(margin)
    reached = separation - alpha * hinge
    return Duality(
        alpha=alpha,
        margin=margin,
        lipschitz_upper=bound.upper,
        reached=reached,
        kantorovich_rubinstein=separation,
        hinge=hinge,
        optimum=optimum.value,
        transported=optimum.transported,
        gap=optimum.value - reached,
        share=reached / optimum.value if optimum.value > 0 else None,
        exceeded=bool(reached > optimum.value + optimum.tolerance),
    )


def plan_cosines(found: Potential, points: Float64[Array, "n d"], optimum: Optimum) -> Float64[Array, " m"]:
    """Cosines between the way on which the plan sends a point and -f grad f, for each point with both directions.

    A point may be sent to several; their mean, weighted by mass, is its image (the barycentric projection).

    Args:
        found: f on the points.
        points: (n, d), of both classes, in the order of `found`.
        optimum: of the transport problem on the same points.
    """
    images = np.empty_like(points)
    positive, negative = points[found.positive], points[~found.positive]
    images[found.positive] = optimum.plan @ negative / optimum.plan.sum(axis=1, keepdims=True)
    images[~found.positive] = optimum.plan.T @ positive / optimum.plan.sum(axis=0)[:, None]
    steps, falls = images - points, -found.values[:, None] * found.gradients
    lengths = np.linalg.norm(steps, axis=1) * np.linalg.norm(falls, axis=1)
    known = lengths > 0
    return np.asarray(np.clip((steps * falls).sum(axis=1)[known] / lengths[known], -1.0, 1.0))

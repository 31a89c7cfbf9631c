"""Radii from logits: how far an input can move, in L2, without any change of the predicted class.

For prediction i the radius is the minimum over j ≠ i of (f_i − f_j) / L_ij, where L_ij bounds the Lipschitz constant of
f_i − f_j: `pairwise` takes the pairwise bounds, `paper` one constant for all pairs (|f|/L for one logit; half the top-2
gap over L for unit rows, gap/(√2 L) for a joint head: Serrurier et al. 2021, §3; Li et al. 2019). The radius is
sound in floating point: docs/design/0004-soundness.md §6.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from robench.arrays import Array, Integers, Singles
from robench.certificates.deployment import classes
from robench.errors import BoundError
from robench.lipschitz import LipschitzBound
from robench.numerics import gamma, round_up
from robench.records.record import Rule
from robench.specs.evaluation import DeployDtype

SQRT2_UP = round_up(math.sqrt(2.0))


def norms_upper(inputs: Float32[Singles, "n ..."]) -> Float64[Array, " n"]:
    """Upper bounds of the L2 norms of inputs; each row is summed by itself, whatever stands beside it.

    Args:
        inputs: of any shape.
    """
    flat = inputs.reshape(len(inputs), -1).astype(np.float64)
    norms: Array = np.sqrt(np.square(flat).sum(axis=1)) * (1 + gamma(flat.shape[1] + 8))
    return norms


@dataclass(frozen=True)
class Radii:
    """What logits prove of n inputs.

    Fields:
        predicted: class.
        runner_up: class that limits the pairwise radius.
        margin: lower bound of f_predicted − f_runner_up of the exact network (one logit: |f|), at least 0.
        by_rule: radii by each rule, in the order of `RULES`, none below the one before it; 0 where nothing could be
            proven.
    """

    predicted: Int64[Integers, " n"]
    runner_up: Int64[Integers, " n"]
    margin: Float64[Array, " n"]
    by_rule: Mapping[Rule, Float64[Array, " n"]]


def radii(
    bound: LipschitzBound,
    logits: Float64[Array, "n q"],
    norms: Float64[Array, " n"],
    deploy_dtype: DeployDtype = "float64",
) -> Radii:
    """Radii from float64 logits, rounded down.

    Args:
        bound: of the network that computed them.
        logits: computed in float64.
        norms: upper bounds of the L2 norm of the inputs.
        deploy_dtype: arithmetic of the deployed network whose class must not change.
    """
    errors = logit_errors(bound, logits.shape[1], norms, deploy_dtype)
    if logits.shape[1] == 1:
        return _one_logit(bound, logits[:, 0], errors.shared, errors.growth)
    return _argmax(bound, logits, errors)


class Errors(NamedTuple):
    """How far differences of logits may be off, of the network at hand and of the deployed one together.

    Fields:
        shared: of each difference, or of one logit, at the input (n,).
        own: what each of the two logits adds (q,).
        growth: what the distance from the input adds, for each unit of it.
    """

    shared: Float64[Array, " n"]
    own: Float64[Array, " q"]
    growth: float

    def between(self, predicted: Int64[Integers, " n"]) -> Float64[Array, "n q"]:
        """Of the difference of the logit of a class and each other one, at the input; of one logit, of that."""
        if len(self.own) == 1:
            return self.shared[:, None] + self.own
        errors: Array = (self.shared[:, None] + self.own[predicted][:, None] + self.own) * (1 + 2.0**-50)
        return errors


def logit_errors(bound: LipschitzBound, outputs: int, norms: Float64[Array, " n"], deploy_dtype: DeployDtype) -> Errors:
    """Bounds of rounding errors of logits.

    Args:
        bound: of the network that computed them.
        outputs: how many logits.
        norms: upper bounds of the L2 norm of the inputs.
        deploy_dtype: arithmetic of the deployed network.

    Raises:
        BoundError: there is none for this arithmetic.
    """
    here, there = rounding(bound, "float64"), rounding(bound, deploy_dtype)
    if outputs > 1 and deploy_dtype == "float64" and bound.by_class is not None:
        slope, offset, own = bound.by_class
        shared = 2 * SQRT2_UP * (slope * norms + offset) * (1 + 2.0**-48)
        return Errors(shared, 2 * own * (1 + 2.0**-48), round_up(SQRT2_UP * slope))
    # each logit pair is off by at most √2 times the norm of the error vector; one logit by the norm itself
    factor = 1.0 if outputs == 1 else SQRT2_UP
    error = factor * ((here[0] + there[0]) * norms + (here[1] + there[1])) * (1 + 2.0**-48)
    return Errors(error, np.zeros(outputs), round_up(factor * there[0]))


def rounding(bound: LipschitzBound, deploy_dtype: DeployDtype) -> tuple[float, float]:
    """The error of the deployed logits.

    Raises:
        BoundError: it has no bound.
    """
    if deploy_dtype not in bound.rounding:
        reason = bound.unbounded or "its rounding errors have no finite bound"
        raise BoundError(
            f"the model in {deploy_dtype} cannot be compared with the float64 one: {reason}",
            hint="certify for float64, or export the model with this part computed once and stored",
        )
    return bound.rounding[deploy_dtype]


def class_constants(bound: LipschitzBound, classes: int) -> tuple[Float64[Array, "q q"], float]:
    """The bounds of each pair of classes, and the constant of the paper's rule.

    Raises:
        BoundError: the bound has none for so many classes.
    """
    if bound.pairwise is None or bound.paper is None or bound.pairwise.shape != (classes, classes):
        raise BoundError(
            f"the bound has no constants for {classes} classes", hint="the model must return at most 2048 logits"
        )
    return bound.pairwise, bound.paper


def _one_logit(bound: LipschitzBound, logit: Array, error: Array, growth: float) -> Radii:
    predicted = classes(logit[:, None])
    margin = _lower(np.abs(logit), error)
    radius = _divide_down(margin, bound.upper + growth)
    by_rule: dict[Rule, Array] = {"paper": radius, "pairwise": radius.copy()}
    if bound.scaled is not None:
        by_rule["scaled"] = np.maximum(_divide_down(margin, float(bound.scaled[0, 0]) + growth), radius)
    return Radii(predicted, 1 - predicted, margin, by_rule)


def _argmax(bound: LipschitzBound, logits: Array, errors: Errors) -> Radii:
    """Of q ≥ 2 logits."""
    rows = np.arange(logits.shape[0])
    predicted = classes(logits)
    growth = errors.growth
    margins = _lower(logits[rows, predicted][:, None] - logits, errors.between(predicted))
    margins[rows, predicted] = np.inf
    pairs, paper = class_constants(bound, logits.shape[1])
    lengths = _lengths(margins, pairs, predicted, growth)
    runner_up = np.argmin(np.where(lengths > 0, lengths, margins - 1e300), axis=1)
    radius = lengths[rows, runner_up]
    by_paper = np.minimum(_divide_down(margins.min(axis=1), paper + growth), radius)
    by_rule: dict[Rule, Array] = {"paper": by_paper, "pairwise": radius}
    if bound.scaled is not None:
        by_rule["scaled"] = np.maximum(_lengths(margins, bound.scaled, predicted, growth).min(axis=1), radius)
    return Radii(predicted, runner_up, margins[rows, runner_up], by_rule)


def _lengths(margins: Array, pairs: Array, predicted: Integers, growth: float) -> Array:
    """How far each class is (n, q), at least; infinite for the predicted one."""
    lengths = _divide_down(margins, pairs[predicted] + growth)
    lengths[np.arange(len(margins)), predicted] = np.inf
    return lengths


def _lower(difference: Array, error: Array) -> Array:
    """A lower bound of a computed difference less an error, at least 0."""
    down = np.nextafter(np.nextafter(difference, -np.inf) - error, -np.inf)
    return np.where(difference > 0, np.maximum(down, 0.0), 0.0)


def _divide_down(margin: Array, constant: Array | float) -> Array:
    """A lower bound of margin / constant; 0 for a margin of 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = margin / np.nextafter(constant, np.inf)
    quotient = np.where(np.isfinite(quotient), quotient, np.where(margin > 0, np.finfo(np.float64).max, 0.0))
    return np.where(quotient > 0, np.maximum(np.nextafter(quotient, -np.inf), 0.0), 0.0)

"""Certified radii: how far an input can move, in L2, without any change of the predicted class.

For prediction i the radius is the minimum over j ≠ i of (f_i − f_j) / L_ij, where L_ij bounds the Lipschitz constant of
f_i − f_j: `pairwise` takes the pairwise bounds, `paper` one constant for all pairs (|f|/L for one logit; half the top-2
gap over L for unit rows, gap/(√2 L) for a joint head: Serrurier et al. 2021, §3; Li et al. 2019). The radius is
sound in floating point: docs/design/0004-soundness.md §6.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from robench.certificates.deployment import Deployment, classes
from robench.data import Dataset
from robench.devices import exact_arithmetic
from robench.errors import BoundError, ModelError
from robench.lipschitz import LipschitzBound, fingerprint, plain_copy
from robench.models.networks.widened import widened
from robench.numerics import gamma, round_up
from robench.records.record import CertifyRecord, Status
from robench.specs.evaluation import DeployDtype

Array = npt.NDArray[np.float64]

SQRT2_UP = round_up(math.sqrt(2.0))


class Certifiable(Protocol):
    """What is needed of a loaded model: the module in evaluation mode, the shape of an input, the number of logits."""

    @property
    def module(self) -> nn.Module:
        """Plain layers, evaluation mode."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Without the batch."""

    @property
    def outputs(self) -> int:
        """1: one logit, binary; else q ≥ 2 logits."""


@dataclass(frozen=True)
class Certificates:
    """Certificates of n inputs.

    Fields:
        predicted: (n,) class.
        runner_up: (n,) class that limits the pairwise radius.
        margin: (n,) lower bound of f_predicted − f_runner_up of the exact network (one logit: |f|), at least 0.
        paper, pairwise: (n,) radii; 0 where nothing could be proven.
    """

    predicted: npt.NDArray[np.int64]
    runner_up: npt.NDArray[np.int64]
    margin: Array
    paper: Array
    pairwise: Array


def certificates(
    bound: LipschitzBound, logits: Array, norms: Array, deploy_dtype: DeployDtype = "float64"
) -> Certificates:
    """Radii from float64 logits, rounded down.

    Args:
        bound: of the network that computed them.
        logits: (n, q), computed in float64; (n, 1) for one logit.
        norms: (n,) upper bounds of the L2 norm of the inputs.
        deploy_dtype: arithmetic of the deployed network whose class must not change.
    """
    here, there = _rounding(bound, "float64"), _rounding(bound, deploy_dtype)
    # each logit pair is off by at most √2 times the norm of the error vector; one logit by the norm itself
    factor = 1.0 if logits.shape[1] == 1 else SQRT2_UP
    error = factor * ((here[0] + there[0]) * norms + (here[1] + there[1])) * (1 + 2.0**-48)
    growth = round_up(factor * there[0])  # the deployed error at the moved point grows with the radius
    if logits.shape[1] == 1:
        return _one_logit(bound, logits[:, 0], error, growth)
    if deploy_dtype == "float64" and bound.by_class is not None:
        slope, offset, own = bound.by_class
        shared = 2 * SQRT2_UP * (slope * norms + offset) * (1 + 2.0**-48)
        return _argmax(bound, logits, shared, 2 * own * (1 + 2.0**-48), round_up(SQRT2_UP * slope))
    return _argmax(bound, logits, error, np.zeros(logits.shape[1]), growth)


def _rounding(bound: LipschitzBound, deploy_dtype: DeployDtype) -> tuple[float, float]:
    """The error of the deployed logits.

    Raises:
        BoundError: it has no bound.
    """
    if deploy_dtype not in bound.rounding:
        reason = bound.unbounded or "its rounding errors have no finite bound"
        raise BoundError(
            f"the model in {deploy_dtype} cannot be held against the float64 one: {reason}",
            hint="certify for `--deploy-dtype float64`, or export the model with this part computed once and stored",
        )
    return bound.rounding[deploy_dtype]


def _one_logit(bound: LipschitzBound, logit: Array, error: Array, growth: float) -> Certificates:
    predicted = classes(logit[:, None])
    margin = _lower(np.abs(logit), error)
    radius = _divide_down(margin, bound.upper + growth)
    return Certificates(predicted, 1 - predicted, margin, radius, radius.copy())


def _argmax(bound: LipschitzBound, logits: Array, error: Array, own: Array, growth: float) -> Certificates:
    """Of q ≥ 2 logits: `error` (n,) of each difference, and `own` (q,) of each logit."""
    rows = np.arange(logits.shape[0])
    predicted = classes(logits)
    errors = (error[:, None] + own[predicted][:, None] + own) * (1 + 2.0**-50)
    margins = _lower(logits[rows, predicted][:, None] - logits, errors)
    margins[rows, predicted] = np.inf
    radii = _divide_down(margins, bound.pairwise[predicted] + growth)
    radii[rows, predicted] = np.inf
    runner_up = np.argmin(np.where(radii > 0, radii, margins - 1e300), axis=1)
    pairwise = radii[rows, runner_up]
    gap = margins.min(axis=1)
    paper = np.minimum(_divide_down(gap, bound.paper + growth), pairwise)
    return Certificates(predicted, runner_up, margins[rows, runner_up], paper, pairwise)


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


def certify_records(
    model: Certifiable,
    bound: LipschitzBound,
    dataset: Dataset,
    *,
    deploy_dtype: DeployDtype = "float64",
    batch_size: int = 500,
    device: torch.device | str = "cpu",
    skip: Collection[int] = (),
) -> Iterator[CertifyRecord]:
    """One record for each image of the data set, in its order.

    Args:
        model: the model, in evaluation mode.
        bound: of this very module.
        dataset: the images.
        deploy_dtype: arithmetic of the deployed network; `float32` subtracts a bound of its error as well, and runs it
            on each image: no certificate where it gives another class.
        batch_size: inputs at a time.
        device: where; like the batch size it does not change a record beyond rounding error.
        skip: indices (`dataset.index`) that already have a record.

    Raises:
        BoundError: the constants are not finite, the deployed arithmetic has no bound, or was seen outside of it.
        ModelError: the bound is of another module, or the data do not fit the model.
    """
    network = _network(model, bound).to(device)
    deployed = _deployment(model, bound, device) if deploy_dtype == "float32" else None
    done = set(skip)
    rows = np.array([row for row, index in enumerate(dataset.index) if int(index) not in done], dtype=np.int64)
    for start in range(0, len(rows), batch_size):
        chunk = rows[start : start + batch_size]
        inputs = dataset.batch(chunk)
        if inputs.shape[1:] != tuple(model.input_shape):
            raise ModelError(
                f"`{dataset.name}` has inputs of shape {inputs.shape[1:]}, the model takes {tuple(model.input_shape)}",
                hint="name the data set that the model was trained on",
            )
        logits = _logits(network, inputs, model.outputs, device)
        norms = _norms(inputs)
        found = certificates(bound, logits, norms, deploy_dtype)
        if deployed is not None:
            found = _withdrawn(found, ~deployed.gives(found.predicted, logits, inputs, norms))
        yield from _records(dataset, chunk, inputs, found)


def _network(model: Certifiable, bound: LipschitzBound) -> nn.Module:
    """The float64 network, checked to be the one that was bounded."""
    if not (math.isfinite(bound.upper) and bound.rounding):
        raise BoundError("the Lipschitz bound is not finite, so there is no certificate", hint="bound the model again")
    if model.outputs > 1 and bound.pairwise.shape != (model.outputs, model.outputs):
        raise BoundError(
            f"the bound has no constants for {model.outputs} classes", hint="the model must return at most 2048 logits"
        )
    plain = plain_copy(model.module)
    if fingerprint(plain) != bound.fingerprint:
        raise ModelError(
            "the weights, constants or code of the model are not those that were bounded",
            hint="bound it again; if the model changes by being read, certify `robench.lipschitz.plain_copy(model)`",
        )
    return widened(plain)


def _deployment(model: Certifiable, bound: LipschitzBound, device: torch.device | str) -> Deployment:
    """The float32 network, and how far its logits are from the computed float64 ones at most."""
    here, there = _rounding(bound, "float64"), _rounding(bound, "float32")
    return Deployment(model.module, (here[0] + there[0], here[1] + there[1]), device)


def _withdrawn(found: Certificates, rows: npt.NDArray[np.bool_]) -> Certificates:
    """The certificates without those of some rows."""
    radii = {name: np.where(rows, 0.0, getattr(found, name)) for name in ("margin", "paper", "pairwise")}
    return replace(found, **radii)


def _logits(network: nn.Module, inputs: npt.NDArray[np.float32], outputs: int, device: torch.device | str) -> Array:
    with torch.no_grad(), exact_arithmetic():
        result: Array = network(torch.from_numpy(inputs).to(device).double()).cpu().numpy()
    result = result.reshape(len(inputs), -1)
    if result.shape[1] != outputs:
        raise ModelError(f"the model gives {result.shape[1]} logits, not {outputs}", hint="load the model again")
    if not np.isfinite(result).all():
        raise ModelError("the model gives logits that are not finite", hint="train it again with a lower rate")
    return result


def _norms(inputs: npt.NDArray[np.float32]) -> Array:
    flat = inputs.reshape(len(inputs), -1)
    squares = np.einsum("ij,ij->i", flat, flat, dtype=np.float64)
    norms: Array = np.sqrt(squares) * (1 + gamma(flat.shape[1] + 8))
    return norms


def _records(
    dataset: Dataset, rows: npt.NDArray[np.int64], inputs: npt.NDArray[np.float32], found: Certificates
) -> Iterator[CertifyRecord]:
    columns = (dataset.index[rows], dataset.labels[rows], found.predicted, found.runner_up)
    numbers = (found.margin, found.paper, found.pairwise)
    pixels = np.ascontiguousarray(inputs, dtype="<f4").reshape(len(rows), -1)
    table = zip(pixels, *(column.tolist() for column in (*columns, *numbers)), strict=True)
    for values, index, label, predicted, runner_up, margin, paper, pairwise in table:
        proven = Status.CERTIFIED if pairwise > 0 else Status.NOT_CERTIFIED
        yield CertifyRecord(
            index=index,
            input_sha256=hashlib.sha256(values.data).hexdigest(),
            label=label,
            predicted=predicted,
            runner_up=runner_up,
            margin=margin,
            radius_paper=paper,
            radius_pairwise=pairwise,
            status=proven if label == predicted else Status.MISCLASSIFIED,
        )

"""Certificates of images, batch by batch: the float64 network, the radii of its logits, the deployed network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Sequence
from os import PathLike
from typing import Protocol, get_args

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import nn

from robench.arrays import Array, Flags, Integers, Singles
from robench.certificates.deployment import Deployment
from robench.certificates.image_rules import image_rules, proven_by
from robench.certificates.radii import Radii, class_constants, norms_upper, radii, rounding
from robench.data.dataset import input_digest
from robench.data.memory import ImagesLike, LabelsLike, check_classes, inputs
from robench.devices import exact_arithmetic, own_settings, resolve_device
from robench.errors import BoundError, DataError, ModelError, SpecError
from robench.lipschitz import LipschitzBound, bound_module, fingerprint, plain_copy
from robench.models import LOOKED_AT, HeldModel, Model, hold, output_flags
from robench.models.networks.tiles import Tiled
from robench.models.networks.widened import widened
from robench.models.user_code.blame import late_blamed
from robench.numerics import upper
from robench.records.certificates import Certificates, join
from robench.records.record import CertifyRecord
from robench.specs.base import whole
from robench.specs.data import Split
from robench.specs.evaluation import DeployDtype, ExtraRule
from robench.statistics.predictions import record_flags


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


class CertifiedImages(Protocol):
    """What is needed of a data set, or of images in memory."""

    @property
    def index(self) -> Int64[Integers, " n"]:
        """Position of each image in its split."""

    @property
    def labels(self) -> Int64[Integers, " n"] | None:
        """True classes, if known."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image."""

    def batch(self, rows: slice | Int64[Integers, " n"]) -> Float32[Singles, "n ..."]:
        """Some images."""


def certify(
    model: Model,
    x: ImagesLike,
    y: LabelsLike | None = None,
    *,
    bound: LipschitzBound | None = None,
    deploy_dtype: DeployDtype = "float64",
    rules: Collection[ExtraRule] = (),
    box: Sequence[float] | None = None,
    limit: int | None = None,
    split: Split | None = None,
    data_dir: str | PathLike[str] | None = None,
    batch_size: int = 500,
    device: str = "auto",
) -> Certificates:
    """Prove how far each image can move, in L2, without any change of its predicted class.

    The same certificates as of `robench certify`. The model and the images stay as they are.

    Args:
        model: any torch module in evaluation mode: images (N, *shape) to logits (N, q), or (N, 1) for two classes; or a
            path, or what `load_model` returns.
        x: images (N, *shape), a tensor or an array of floats, taken as float32; or a data set or its name.
        y: true classes (N,), integers from 0 up. They are not needed for a radius, only for rates; a data set brings
            them.
        bound: what `lipschitz_bound` says of this model; None to compute it.
        deploy_dtype: arithmetic of the deployed model. `float32` subtracts a bound of its rounding error as well, and
            proves nothing of an image to which the float32 model gives another class.
        rules: rules that take their time, beyond those that are always there.
        box: least and greatest value of an entry of the inputs that the certificates speak of: no x' in the box with
            ‖x' − x‖ below the radius has another class, and nothing is said of others. None for the whole space, or
            what `bound` holds for. Hold such certificates against attacks within the box alone.
        limit: at most this many images, the first ones; None for all.
        split: of a data set by name: `train`, `validation` or `test`; None for `test`.
        data_dir: folder with its files; None for the cache, which downloads what it lacks.
        batch_size: images at a time.
        device: `auto`, `cpu` or `cuda:N`; it does not change a radius beyond rounding, and the batch size not at all.

    Raises:
        BoundError: the model has no Lipschitz bound, or none for this arithmetic.
        ModelError: the model is in training mode, does not fit the images, gives no finite logits, or is another one
            than the bound is of.
        DataError: images or labels do not serve, or an image lies outside of the box.
        SpecError: an arithmetic, limit, batch size or device does not serve.

    Examples:
        A hyperplane, whose distance from the two images is 0.25 and 0.5:

        >>> import torch, robench
        >>> model = torch.nn.Linear(2, 1)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0]])), model.bias.data.fill_(-0.5)
        >>> radii = robench.certify(model.eval(), torch.tensor([[0.75, 0.5], [0.0, 0.5]]), [1, 1])
        >>> radii.predicted.tolist(), radii.radius.round(3).tolist()
        ([1, 0], [0.25, 0.5])
        >>> radii.certified_accuracy("1/5"), radii.certified_accuracy(0.3)
        (0.5, 0.0)
    """
    given = inputs(x, y, limit=limit, split=split, data_dir=data_dir)
    batch_size = whole("batch_size", batch_size, 1)
    if deploy_dtype not in get_args(DeployDtype):
        raise SpecError(f"`deploy_dtype` is {deploy_dtype!r}", hint="give `float64` or `float32`")
    if not isinstance(bound, LipschitzBound | None):
        raise SpecError(
            f"`bound` is of type {type(bound).__name__}", hint="give what `lipschitz_bound` returns, or None"
        )
    where = resolve_device(device)
    with own_settings(), late_blamed():
        held = hold(model, given.shape)
        if given.labels is not None:
            check_classes(given.labels, held.classes)
        check_deployable(held, deploy_dtype)
        bound = bound_module(held.module, held.input_shape, box) if bound is None else bound
        if box is not None and bound.box != tuple(box):
            raise SpecError(f"`box` is {box!r}, and the bound is for {bound.box}", hint="give one of the two")
        batches = certify_batches(
            held, bound, given, deploy_dtype=deploy_dtype, rules=rules, batch_size=batch_size, device=where
        )
        found = join(list(batches))
        notes = _notes(held, given, found)
        if deploy_dtype == "float32" and not found.radius.any():
            notes.append(none_in_float32(bound))
        return dataclasses.replace(found, notes=tuple(notes), box=bound.box)


def certify_records(
    model: Certifiable,
    bound: LipschitzBound,
    dataset: CertifiedImages,
    *,
    deploy_dtype: DeployDtype = "float64",
    rules: Collection[ExtraRule] = (),
    batch_size: int = 500,
    device: torch.device | str = "cpu",
    skip: Collection[int] = (),
) -> Iterator[CertifyRecord]:
    """The records of `certify_batches`, of images with labels; arguments and errors are the same.

    Args:
        model: the model, in evaluation mode.
        bound: of this very module.
        dataset: the images, with labels.
        deploy_dtype: arithmetic of the deployed network.
        rules: rules beyond those of the bound.
        batch_size: images at a time.
        device: where.
        skip: indices that already have a record.
    """
    for batch in certify_batches(
        model,
        bound,
        dataset,
        deploy_dtype=deploy_dtype,
        rules=rules,
        batch_size=batch_size,
        device=device,
        skip=skip,
    ):
        yield from batch.records()


def certify_batches(
    model: Certifiable,
    bound: LipschitzBound,
    images: CertifiedImages,
    *,
    deploy_dtype: DeployDtype = "float64",
    rules: Collection[ExtraRule] = (),
    batch_size: int = 500,
    device: torch.device | str = "cpu",
    skip: Collection[int] = (),
) -> Iterator[Certificates]:
    """Certificates of the images, in their order, a batch at a time.

    Args:
        model: the model, in evaluation mode.
        bound: of this very module.
        images: the images.
        deploy_dtype: arithmetic of the deployed network; `float32` subtracts a bound of its error as well, and runs it
            on each image: no certificate where it gives another class.
        rules: rules beyond those of the bound (`robench.certificates.image_rules`).
        batch_size: images at a time.
        device: where; it does not change a certificate beyond rounding error, and the batch size not at all.
        skip: indices that already have a certificate.

    Raises:
        BoundError: the constants are not finite, the deployed arithmetic has no bound, or was seen outside of it; or
            the model has no such rule.
        DataError: an image lies outside of the box that the bound holds for.
        ModelError: the bound is of another module, or the images do not fit the model.
    """
    if images.shape != tuple(model.input_shape):
        raise ModelError(
            f"the images have shape {images.shape}, the model takes {tuple(model.input_shape)}",
            hint="take the data that the model was trained on",
        )
    network = _network(model, bound).to(device)
    if bound.box is not None and (others := sorted({*rules} - {*bound.rules})):
        raise SpecError(f"rule `{others[0]}` has no form for a box of inputs", hint="leave out the rule, or the box")
    more = image_rules(rules, network, bound, deploy_dtype)
    deployed = _deployment(model, bound, device) if deploy_dtype == "float32" else None
    done = set(skip)
    rows = np.array([row for row, index in enumerate(images.index.tolist()) if index not in done], dtype=np.int64)
    if not len(rows):
        return
    with exact_arithmetic():
        tiled = Tiled(network, model.input_shape, torch.float64, torch.device(device)).stable()
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        inputs = images.batch(batch)
        _check_in_box(bound, inputs, images.index[batch])
        logits = _logits(tiled, inputs, model.outputs)
        norms = norms_upper(inputs)
        found = radii(bound, logits, norms, deploy_dtype)
        for rule, prove in more.items():
            found = proven_by(rule, found, prove(inputs, logits, found))
        if deployed is not None:
            found = _withdrawn(found, ~deployed.gives(found.predicted, logits, inputs, norms))
        yield Certificates(
            **vars(found),
            index=images.index[batch],
            input_sha256=tuple(input_digest(image) for image in inputs),
            fingerprint=bound.fingerprint,
            labels=None if images.labels is None else images.labels[batch],
        )


def _check_in_box(bound: LipschitzBound, inputs: Singles, index: Integers) -> None:
    """Refuse inputs outside of the box that the bound holds for."""
    if bound.box is None:
        return
    low, high = bound.box
    flat = inputs.reshape(len(inputs), -1)
    outside = ~((flat >= low) & (flat <= high)).all(axis=1)
    if outside.any():
        row = int(np.argmax(outside))
        raise DataError(
            f"image {int(index[row])} has values from {float(flat[row].min()):g} to {float(flat[row].max()):g}, and "
            f"the bound holds for inputs in [{low:g}, {high:g}] alone",
            hint="name a box that holds all of the data",
        )


def check_deployable(model: HeldModel, deploy_dtype: DeployDtype) -> None:
    """Refuse a float32 network that may round two classes to the same number.

    Raises:
        ModelError: it ends in a sigmoid, softmax or the like.
    """
    if deploy_dtype == "float32" and model.link is not None and model.link.operations:
        raise ModelError(
            f"the model ends in {' and '.join(model.link.operations)}, which in float32 may round two classes to the "
            "same number, so there is no certificate of the float32 network",
            hint="deploy the network without it (it changes no class) and certify that, or certify for float64",
        )


def none_in_float32(bound: LipschitzBound) -> str:
    """Why no image has a certificate of the float32 network."""
    slope, offset = bound.rounding["float32"]
    return (
        f"no image is certified in float32: its logits are only known to lie within {upper(slope, 3)}·‖x‖ + "
        f"{upper(offset, 3)} of the float64 ones, or have another class; where `forward` computes weights (SVD, QR, "
        "thresholds), store them, or certify for float64"
    )


def _notes(model: HeldModel, images: CertifiedImages, found: Certificates) -> list[str]:
    """How the class is read where that is not plain, and flags; some flags need labels."""
    notes = [] if model.link is None else [model.link.note]
    labels = None if found.labels is None else found.labels[:LOOKED_AT]
    flags = output_flags(model, images.batch(slice(0, LOOKED_AT)), labels)
    flags += [] if found.labels is None else record_flags(found.records())
    return [*notes, *(f"{flag.name}: {flag.message}" for flag in flags)]


def _network(model: Certifiable, bound: LipschitzBound) -> nn.Module:
    """The float64 network, checked to be the one that was bounded."""
    if bound.unproven:
        raise BoundError(
            f"there is no certificate: the rounding error of {bound.unproven} has no bound; its constant has one",
            hint="name a smaller box, or give its norm layers a larger ε",
        )
    if not (math.isfinite(bound.upper) and bound.rounding):
        raise BoundError("the Lipschitz bound is not finite, so there is no certificate", hint="bound the model again")
    if model.outputs > 1:
        class_constants(bound, model.outputs)
    plain = plain_copy(model.module)
    if fingerprint(plain) != bound.fingerprint:
        raise ModelError(
            "the weights, constants or code of the model are not those that were bounded",
            hint="bound it again; if reading the model changes it, certify `robench.lipschitz.plain_copy(model)`",
        )
    if bound.input_shape != tuple(model.input_shape):
        raise ModelError(
            f"the bound holds for inputs of shape {bound.input_shape}, and the model takes {tuple(model.input_shape)}",
            hint="bound the model for this shape: `lipschitz_bound(model, x.shape[1:])`",
        )
    return widened(plain)


def _deployment(model: Certifiable, bound: LipschitzBound, device: torch.device | str) -> Deployment:
    """The float32 network, and how far its logits are from the computed float64 ones at most."""
    here, there = rounding(bound, "float64"), rounding(bound, "float32")
    return Deployment(model.module, model.input_shape, (here[0] + there[0], here[1] + there[1]), device)


def _withdrawn(found: Radii, rows: Flags) -> Radii:
    """The certificates without those of some rows."""
    by_rule = {rule: np.where(rows, 0.0, lengths) for rule, lengths in found.by_rule.items()}
    return dataclasses.replace(found, margin=np.where(rows, 0.0, found.margin), by_rule=by_rule)


def _logits(network: Tiled, inputs: Singles, outputs: int) -> Array:
    with exact_arithmetic():
        result: Array = network(torch.from_numpy(inputs)).cpu().numpy()
    result = result.reshape(len(inputs), -1)
    if result.shape[1] != outputs:
        raise ModelError(f"the model gives {result.shape[1]} logits, not {outputs}", hint="load the model again")
    if not np.isfinite(result).all():
        raise ModelError("the model gives logits that are not finite", hint="train it again with a lower rate")
    return result

"""Certificates of a batch of images, as arrays; and their records, one for each image. No torch here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from jaxtyping import Float64, Int64

from robench.arrays import Array, Integers
from robench.data.dataset import input_digest
from robench.data.memory import ImageSet, LabelsLike, as_array, classes_of
from robench.errors import DataError, ModelError, SpecError
from robench.records.record import CertifyRecord, Rule, Status
from robench.records.smoothed import SmoothedCertificates, SmoothedRecord
from robench.specs.epsilon import Epsilon, epsilon_or_zero
from robench.specs.evaluation import DeployDtype


@dataclass(frozen=True)
class Identity:
    """Which image something is about.

    Fields:
        index: position in its split; the row where there is no split.
        input_sha256: of the input as float32 little-endian bytes.
        label: true class.
    """

    index: int
    input_sha256: str
    label: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Certificates:
    """What is proven of N images: no change shorter than the radius, in L2, gives another class.

    Fields:
        predicted: class. The certificate speaks of this one, right or wrong.
        by_rule: radii by each rule that was computed, rounded down, 0 where nothing is proven: `paper` by one constant
            for all pairs of classes, `pairwise` by the constant of each pair, and what else there is (`RULES`). No rule
            is ever below one before it.
        runner_up: class that limits the radius by pairs.
        margin: lower bound of f_predicted − f_runner_up (one logit: |f|), rounding errors subtracted.
        index: position in the split; the row where there is no split.
        input_sha256: of each input as float32 little-endian bytes, so that certificates are told to be of other images.
        fingerprint: SHA-256 of the model, as in its `LipschitzBound`, so that they are told to be of another model.
        labels: true classes; None where they are not known.
        notes: how the class is read where that is not plain, and flags (docs/flags.md).
        box: least and greatest value of an entry of the inputs that all this is said of; None for the whole space.
    """

    predicted: Int64[Integers, " n"]
    by_rule: Mapping[Rule, Float64[Array, " n"]]
    runner_up: Int64[Integers, " n"]
    margin: Float64[Array, " n"]
    index: Int64[Integers, " n"]
    input_sha256: tuple[str, ...] = field(repr=False)
    fingerprint: str = field(repr=False)
    labels: Int64[Integers, " n"] | None = None
    notes: tuple[str, ...] = ()
    box: tuple[float, float] | None = None

    def __len__(self) -> int:
        return len(self.predicted)

    @property
    def radius(self) -> Float64[Array, " n"]:
        """The largest radius by any rule."""
        largest: Array = np.max(list(self.by_rule.values()), axis=0)
        return largest

    def labelled(self, y: LabelsLike) -> Certificates:
        """The same with true classes.

        Args:
            y: (N,), integers from 0 up.

        Raises:
            DataError: they are not one class for each image.
        """
        return dataclasses.replace(self, labels=classes_of(y, len(self)))

    def certified_accuracy(self, eps: Epsilon, y: LabelsLike | None = None, *, rule: Rule | None = None) -> float:
        """The share of images that are right, and proven to stay so for every change up to `eps`; accuracy for 0.

        Args:
            eps: L2 radius: a number, a fraction, or a text such as `36/255`.
            y: (N,) true classes, unless they were given before.
            rule: one of `by_rule`; None for the largest radius by any.

        Raises:
            DataError: no true classes are known.
            SpecError: `eps` is no radius, or there are no radii by this rule.
        """
        value = epsilon_or_zero(eps)
        if rule is not None and rule not in self.by_rule:
            raise SpecError(f"there are no radii by the rule `{rule}`", hint=f"known: {', '.join(self.by_rule)}")
        radii = self.radius if rule is None else self.by_rule[rule]
        right = self.predicted == (_known(self) if y is None else classes_of(y, len(self)))
        return float(np.mean(right if value == 0 else right & (radii > value)))

    def records(self) -> list[CertifyRecord]:
        """One record for each image, as in a run folder.

        Raises:
            DataError: no true classes are known.
        """
        columns = {
            "index": self.index,
            "label": _known(self),
            "predicted": self.predicted,
            "runner_up": self.runner_up,
            "margin": self.margin,
            **{f"radius_{rule}": radii for rule, radii in self.by_rule.items()},
        }
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [
            CertifyRecord(
                **dict(zip(columns, row, strict=True)),
                input_sha256=sha256,
                status=_status(radius, right=right),
            )
            for sha256, row, radius, right in zip(
                self.input_sha256, rows, self.radius.tolist(), (self.predicted == _known(self)).tolist(), strict=True
            )
        ]


def claim(
    rules: Sequence[str], deploy_dtype: DeployDtype, *, region: str = "all inputs", model: str = "base"
) -> dict[str, Any]:
    """What the certificates of a run say, as plain data; docs/json.md describes the keys.

    Args:
        rules: of certification.
        deploy_dtype: arithmetic of the network whose class does not change.
        region: of the inputs for which it holds.
        model: the network itself (`base`), or what was made of it.
    """
    return {"rules": list(rules), "region": region, "arithmetic": deploy_dtype, "model": model}


def region_of(box: Sequence[float] | None) -> str:
    """Of which inputs a certificate speaks: all, or those in a box with this least and greatest value of an entry."""
    if box is None:
        return "all inputs"
    return f"inputs in the box [{box[0]:g}, {box[1]:g}]: no x' in it with ‖x' − x‖ below the radius has another class"


Proven: TypeAlias = Certificates | Sequence[CertifyRecord] | npt.ArrayLike
"""What a user gives for certificates of N images, in their order: radii (N,) hold for the predicted class."""


def join(batches: Sequence[Certificates]) -> Certificates:
    """One of several, in their order; there is at least one, and all or none have labels."""

    def whole(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(batch, name) for batch in batches])

    labels = [batch.labels for batch in batches if batch.labels is not None]
    return Certificates(
        predicted=whole("predicted"),
        by_rule={rule: np.concatenate([batch.by_rule[rule] for batch in batches]) for rule in batches[0].by_rule},
        runner_up=whole("runner_up"),
        margin=whole("margin"),
        index=whole("index"),
        input_sha256=tuple(sha256 for batch in batches for sha256 in batch.input_sha256),
        fingerprint=batches[0].fingerprint,
        labels=np.concatenate(labels) if labels else None,
    )


@dataclass(frozen=True, eq=False)
class Proofs:
    """What is proven of N images.

    Fields:
        radius: within which the true class is proven; 0 where it is not.
        records: certificates of these images, in their order; empty where only radii are known.
    """

    radius: Float64[Array, " n"]
    records: tuple[CertifyRecord, ...] = ()


def identities(images: ImageSet) -> list[Identity]:
    """Which images a set holds, in its order."""
    return [
        Identity(index, input_digest(images.batch(slice(row, row + 1))), label)
        for row, (index, label) in enumerate(zip(images.index.tolist(), images.labels.tolist(), strict=True))
    ]


def certified_radii(index: Int64[Integers, " n"], certificates: Mapping[int, CertifyRecord]) -> Float64[Array, " n"]:
    """Radii within which the true classes of images are proven, from records by index; 0 where there is none."""
    found = [certificates.get(position) for position in index.tolist()]
    return np.array([0.0 if record is None else record.certified_radius for record in found])


def proofs_of(images: Sequence[Identity], certificates: Proven) -> Proofs:
    """Certificates that a user gives with images, checked to be theirs.

    Args:
        images: the images.
        certificates: of the same images in the same order; they take over the images' indices.

    Raises:
        DataError: another number of certificates than of images, certificates of other images or labels, or radii that
            are not numbers from 0 up; or they are of a smoothed classifier.
    """
    if isinstance(certificates, SmoothedCertificates) or _of_smoothed(certificates):
        raise DataError(
            "these certificates are of a smoothed classifier, and the attacks are on the model itself",
            hint="attack the smoothed classifier with `attack_smoothed`, or give certificates of `certify`",
        )
    if isinstance(certificates, Certificates):
        _check_number(len(certificates), len(images))
        known = certificates if certificates.labels is not None else certificates.labelled([i.label for i in images])
        return _of_records(images, known.records())
    if isinstance(certificates, Sequence) and all(isinstance(item, CertifyRecord) for item in certificates):
        records = cast("Sequence[CertifyRecord]", certificates)
        _check_number(len(records), len(images))
        return _of_records(images, records)
    radii = as_array(certificates, "certificates")
    if radii.shape != (len(images),) or not np.issubdtype(radii.dtype, np.number) or np.iscomplexobj(radii):
        raise DataError(
            f"certificates of shape {radii.shape} and type {radii.dtype} are not one radius for each of "
            f"{len(images)} images",
            hint="give what `certify` returns, or radii (N,), in the order of the images",
        )
    if not (radii >= 0).all():
        raise DataError("a certified radius is negative or NaN", hint="give 0 where nothing is proven")
    return Proofs(np.minimum(radii.astype(np.float64), np.finfo(np.float64).max))


def check_same_model(certificates: Proven, fingerprint: str) -> None:
    """Refuse certificates of another model, where they say of which they are.

    Args:
        certificates: what a user gives.
        fingerprint: of the model that is attacked.

    Raises:
        ModelError: they are of another.
    """
    if isinstance(certificates, Certificates) and certificates.fingerprint != fingerprint:
        raise ModelError(
            "the certificates are of a model with other weights, constants or code than the one that is attacked",
            hint="certify this model; if the two are one function in two forms, give the radii alone: "
            "`certificates.radius`",
        )


def _of_smoothed(certificates: Proven) -> bool:
    return isinstance(certificates, Sequence) and any(isinstance(item, SmoothedRecord) for item in certificates)


def _check_number(certificates: int, images: int) -> None:
    if certificates != images:
        raise DataError(
            f"{certificates} certificates are given for {images} images",
            hint="give one for each image, in their order",
        )


def _of_records(images: Sequence[Identity], records: Sequence[CertifyRecord]) -> Proofs:
    for row, (image, record) in enumerate(zip(images, records, strict=True)):
        if (record.input_sha256, record.label) != (image.input_sha256, image.label):
            raise DataError(
                f"certificate {row} is not of image {row} and its label",
                hint="give the certificates of these very images, in their order",
            )
    theirs = tuple(
        dataclasses.replace(record, index=image.index) for image, record in zip(images, records, strict=True)
    )
    return Proofs(np.array([record.certified_radius for record in theirs]), theirs)


def _status(radius: float, *, right: bool) -> Status:
    if not right:
        return Status.MISCLASSIFIED
    return Status.CERTIFIED if radius > 0 else Status.NOT_CERTIFIED


def _known(certificates: Certificates) -> Integers:
    if certificates.labels is None:
        raise DataError(
            "the true classes of the certified images are not known", hint="certify with them: `certify(model, x, y)`"
        )
    return certificates.labels

"""Certificates of smoothed classifiers: records of their own kind, which nothing joins to those of the model itself.

A smoothed classifier is another function than the model, and its certificate holds with a probability. No torch here.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float64, Int64

from robench.arrays import Array, Integers
from robench.data.memory import LabelsLike, classes_of
from robench.errors import DataError, RunError
from robench.records.record import SCHEMA_VERSION
from robench.records.shapes import misfit
from robench.specs.epsilon import Epsilon, epsilon_or_zero
from robench.specs.smoothing import Sampling

SMOOTHED_COMMAND = "certify-smoothed"
"""In manifests and summaries: what reads runs of `certify` passes over these."""
RULE = "smoothed"
"""Stands where summaries name a rule."""
ABSTAINED = -1
"""Class in an array where the smoothed classifier gives none."""
SHAPE = {
    "index": int,
    "input_sha256": str,
    "label": int,
    "predicted": (int, None),
    "chosen": int,
    "chosen_count": int,
    "count": int,
    "offset": float,
    "radius": float,
    "status": str,
}


class SmoothedStatus(str, Enum):
    """Outcome of the certificate of one image."""

    CERTIFIED = "certified"
    """The smoothed classifier is right, with a radius above 0."""
    MISCLASSIFIED = "misclassified"
    """It gives another class, with a radius above 0."""
    ABSTAINED = "abstained"
    """The draws prove no class."""


@dataclass(frozen=True, kw_only=True)
class SmoothedRecord:
    """The certificate of the smoothed classifier at one image.

    Fields:
        index, input_sha256, label: as in `CertifyRecord`.
        predicted: class of the smoothed classifier; None where it abstains.
        chosen: most frequent class of the first n0 draws.
        chosen_count: how many of the n0 draws gave it.
        count: how many of the n further draws gave it.
        offset: L2 distance of the image from the nearest one on the grid of pixels, rounded up.
        radius: no L2 change shorter than this gives the smoothed classifier another class, but for a chance alpha.
        status: outcome.
    """

    index: int
    input_sha256: str
    label: int
    predicted: int | None
    chosen: int
    chosen_count: int
    count: int
    offset: float
    radius: float
    status: SmoothedStatus

    @property
    def correct(self) -> bool:
        """Whether the smoothed classifier gives the true class."""
        return self.status is SmoothedStatus.CERTIFIED

    @property
    def certified_radius(self) -> float:
        """The radius of an image that is right; 0.0 where it is not."""
        return self.radius if self.correct else 0.0


@dataclass(frozen=True, eq=False, kw_only=True)
class SmoothedCertificates:
    """What is known of the smoothed classifier at N images. It is another function than the model.

    Each radius holds with probability 1 − alpha over the draws.

    Fields:
        predicted: class; −1 where the smoothed classifier abstains.
        radius: L2, rounded down; 0 where it abstains.
        chosen: most frequent class of the first n0 draws.
        chosen_count: how many of the n0 draws gave it.
        count: how many of the n further draws gave it.
        offset: distance of each image from the nearest one on the grid of pixels, which is subtracted from the radius.
        index: position in the split; the row where there is no split.
        input_sha256: of each input as float32 little-endian bytes.
        sampling: sigma, n, n0, alpha and seed.
        labels: true classes; None where they are not known.
    """

    predicted: Int64[Integers, " n"]
    radius: Float64[Array, " n"]
    chosen: Int64[Integers, " n"]
    chosen_count: Int64[Integers, " n"]
    count: Int64[Integers, " n"]
    offset: Float64[Array, " n"]
    index: Int64[Integers, " n"]
    input_sha256: tuple[str, ...]
    sampling: Sampling
    labels: Int64[Integers, " n"] | None = None

    def __len__(self) -> int:
        return len(self.predicted)

    @property
    def confidence(self) -> float:
        """Probability that all N radii hold at once, at least: 1 − N alpha (Bonferroni), or 0."""
        return confidence(len(self), self.sampling.alpha)

    def labelled(self, y: LabelsLike) -> SmoothedCertificates:
        """The same with true classes.

        Args:
            y: (N,), integers from 0 up.

        Raises:
            DataError: they are not one class for each image.
        """
        return dataclasses.replace(self, labels=classes_of(y, len(self)))

    def certified_accuracy(self, eps: Epsilon, y: LabelsLike | None = None) -> float:
        """The share of images at which the smoothed classifier is right, and stays so up to `eps`.

        Args:
            eps: L2 radius: a number, a fraction, or a text such as `36/255`.
            y: (N,) true classes, unless they were given before.

        Raises:
            DataError: no true classes are known.
            SpecError: `eps` is no radius.
        """
        value = epsilon_or_zero(eps)
        records = (self if y is None else self.labelled(y)).records()
        return sum(record.certified_radius > value for record in records) / len(records)

    def records(self) -> list[SmoothedRecord]:
        """One record for each image, as in a run folder.

        Raises:
            DataError: no true classes are known.
        """
        if self.labels is None:
            raise DataError("the true classes of the certified images are not known", hint="give them: `labelled(y)`")
        names = ("index", "predicted", "chosen", "chosen_count", "count", "offset", "radius")
        columns = zip(*(getattr(self, name).tolist() for name in names), strict=True)
        found = []
        for values, sha256, label in zip(columns, self.input_sha256, self.labels.tolist(), strict=True):
            given = dict(zip(names, values, strict=True))
            given["predicted"] = None if given["predicted"] == ABSTAINED else given["predicted"]
            found.append(
                SmoothedRecord(**given, input_sha256=sha256, label=label, status=_status(given["predicted"], label))
            )
        return found


def join_smoothed(parts: Sequence[SmoothedCertificates]) -> SmoothedCertificates:
    """One of several of the same sampling, in their order; there is at least one, and all or none have labels."""

    def whole(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    labels = [part.labels for part in parts if part.labels is not None]
    return SmoothedCertificates(
        predicted=whole("predicted"),
        radius=whole("radius"),
        chosen=whole("chosen"),
        chosen_count=whole("chosen_count"),
        count=whole("count"),
        offset=whole("offset"),
        index=whole("index"),
        input_sha256=tuple(sha256 for part in parts for sha256 in part.input_sha256),
        sampling=parts[0].sampling,
        labels=np.concatenate(labels) if labels else None,
    )


def confidence(n: int, alpha: float) -> float:
    """1 − n alpha, or 0: the probability at least that n certificates hold at once, each of which fails with alpha."""
    return max(0.0, float(1 - n * Decimal(repr(alpha))))


def smoothed_line(record: SmoothedRecord) -> str:
    """One JSON line without the newline."""
    return json.dumps(dataclasses.asdict(record), allow_nan=False, separators=(",", ":"))


def smoothed_record(data: Mapping[str, Any]) -> SmoothedRecord:
    """A record from its JSON object.

    Raises:
        RunError: fields are missing, unknown or of the wrong kind, or do not fit each other.
    """
    problem = misfit(data, SHAPE, "record")
    if problem is None:
        lengths = ("index", "label", "chosen", "chosen_count", "count", "offset", "radius")
        problem = next((f"`{name}` is {data[name]!r}, below 0" for name in lengths if data.get(name, 0) < 0), None)
    try:
        if problem is not None:
            raise ValueError(problem)
        record = SmoothedRecord(**{**data, "status": SmoothedStatus(data["status"])})
        if record.predicted != (record.chosen if record.radius > 0 else None):
            raise ValueError(f"image {record.index} is predicted {record.predicted} with a radius of {record.radius}")
        if record.status is not _status(record.predicted, record.label):
            raise ValueError(f"image {record.index} is not {record.status.value}")
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"a record of a smoothed classifier is not of schema version {SCHEMA_VERSION}: {error}",
            hint="move the run elsewhere and make it again",
        ) from None
    return record


def _status(predicted: int | None, label: int) -> SmoothedStatus:
    if predicted is None:
        return SmoothedStatus.ABSTAINED
    return SmoothedStatus.CERTIFIED if predicted == label else SmoothedStatus.MISCLASSIFIED

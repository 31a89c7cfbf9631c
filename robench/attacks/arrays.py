"""Images, labels, radii and certificates that a user gives in memory, checked and brought into one form."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from robench.attacks.chunk import certified_radius
from robench.errors import DataError, SpecError
from robench.records.record import CertifyRecord
from robench.specs.epsilon import HINT, split_epsilons

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Certified = list[CertifyRecord] | tuple[CertifyRecord, ...] | npt.ArrayLike | torch.Tensor
"""Certificates of N images, in their order: records, or radii (N,) within which the predicted class is proven."""


@dataclass(frozen=True)
class Images:
    """Images in memory, as the cascade takes a data set; the index of an image is its row.

    Fields:
        inputs: (N, *shape) float32.
        labels: (N,) int64.
        index: (N,) 0..N-1.
        bounds: of the inputs.
    """

    inputs: Floats
    labels: Labels
    index: Labels
    bounds: tuple[float, float]

    def batch(self, rows: slice | Labels) -> Floats:
        """A copy of some rows."""
        return self.inputs[rows].copy()


def images(x: Any, y: Any, bounds: Any) -> Images:
    """Images and labels, checked as far as they can be without the model.

    Raises:
        DataError: x is no real (N, *shape) with N > 0, or y no integers (N,) from 0 up.
        SpecError: the bounds are not two finite numbers, the first below the second.
    """
    inputs = _inputs(x)
    labels = _labels(y, len(inputs))
    return Images(inputs, labels, np.arange(len(inputs), dtype=np.int64), _bounds(bounds))


def _inputs(x: Any) -> Floats:
    array = _array(x, "images")
    if not np.issubdtype(array.dtype, np.floating):
        raise DataError(
            f"images of type {array.dtype} are not the model's inputs",
            hint="give floats within the bounds; for pixels 0..255, `x / 255`",
        )
    if array.ndim < 2 or 0 in array.shape:
        raise DataError(
            f"images of shape {array.shape} are no batch (N, *shape) of at least one",
            hint="for a single image give `x[None]` and `[label]`",
        )
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def _labels(y: Any, count: int) -> Labels:
    array = _array(y, "labels")
    if array.ndim == 2 and array.shape[0] == count and array.shape[1] > 1:
        raise DataError(f"labels of shape {array.shape} are one row an image", hint="give classes: `y.argmax(1)`")
    if array.shape != (count,):
        raise DataError(
            f"labels of shape {array.shape} are not one class for each of {count} images",
            hint=f"give classes of shape ({count},)",
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"labels of type {array.dtype} are no classes", hint="give integers from 0 up")
    if array.min() < 0:
        raise DataError(
            f"labels go from {array.min()} to {array.max()}, but classes count from 0",
            hint="for labels -1 and 1 give `(y + 1) // 2`",
        )
    return array.astype(np.int64)


def _bounds(bounds: Any) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in bounds)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise SpecError(
            f"the bounds {bounds!r} are not a least and a greatest value of an input",
            hint="give two numbers, such as `bounds=(0.0, 1.0)`",
        )
    return low, high


def epsilons(eps: Any) -> tuple[str, ...]:
    """Radii as written, in ascending order, each once.

    Args:
        eps: a number, a fraction, a text such as `36/255` or `0.5,1`, or several of these.

    Raises:
        SpecError: one of them is not a finite number above 0, or there is none.
    """
    if isinstance(eps, torch.Tensor):
        eps = eps.detach().cpu().numpy()
    if isinstance(eps, np.ndarray):
        eps = eps.ravel().tolist()
    several = isinstance(eps, Sequence | set | frozenset) and not isinstance(eps, str)
    return split_epsilons(_written(value) for value in (eps if several else [eps]))


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return str(value) if isinstance(value, int) else repr(float(value))
    raise SpecError(f"`{value!r}` is not a radius", hint=HINT)


def certified(certificates: Certified | None, data: Images) -> list[CertifyRecord] | npt.NDArray[np.float64]:
    """Certificates in the order of the images, checked to be theirs; records get the row as index.

    Raises:
        DataError: another number of certificates than of images, records of other images or labels, or radii that are
            not numbers from 0 up.
    """
    if certificates is None:
        return []
    if isinstance(certificates, list | tuple) and all(isinstance(item, CertifyRecord) for item in certificates):
        return _of_images(certificates, data)
    radii = _array(certificates, "certificates")
    if radii.shape != data.labels.shape or not np.issubdtype(radii.dtype, np.number) or np.iscomplexobj(radii):
        raise DataError(
            f"certificates of shape {radii.shape} and type {radii.dtype} are not one radius for each of "
            f"{len(data.labels)} images",
            hint="give radii (N,), or records of `robench certify`, in the order of the images",
        )
    if not (radii >= 0).all():
        raise DataError("a certified radius is negative or NaN", hint="give 0 where nothing is proven")
    capped: npt.NDArray[np.float64] = np.minimum(radii.astype(np.float64), np.finfo(np.float64).max)
    return capped


def _of_images(records: Sequence[CertifyRecord], data: Images) -> list[CertifyRecord]:
    if len(records) != len(data.labels):
        raise DataError(
            f"{len(records)} certificates are given for {len(data.labels)} images",
            hint="give one for each image, in their order",
        )
    for row, (record, label) in enumerate(zip(records, data.labels.tolist(), strict=True)):
        digest = hashlib.sha256(np.ascontiguousarray(data.inputs[row], dtype="<f4").tobytes()).hexdigest()
        if (record.input_sha256, record.label) != (digest, label):
            raise DataError(
                f"certificate {row} is not of image {row} and its label",
                hint="give the certificates of these very images, in their order",
            )
    return [dataclasses.replace(record, index=row) for row, record in enumerate(records)]


def radii_of(certificates: list[CertifyRecord] | npt.NDArray[np.float64]) -> dict[int, float]:
    """Certified radii by row; a certificate of a wrong prediction speaks of that one, and is none here."""
    if isinstance(certificates, np.ndarray):
        return dict(enumerate(certificates.tolist()))
    return {record.index: certified_radius(record) for record in certificates}


def _array(values: Any, what: str) -> npt.NDArray[Any]:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return np.asarray(values.float().numpy() if values.dtype == torch.bfloat16 else values.numpy())
    try:
        return np.asarray(values)
    except ValueError:  # rows of unequal length
        raise DataError(f"{what} of unequal shapes are no array", hint="give one tensor or array") from None

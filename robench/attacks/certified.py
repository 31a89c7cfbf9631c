"""Certificates that a user gives with images in memory, checked to be theirs."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from robench.attacks.attacked import AttackedData
from robench.data.memory import as_array
from robench.errors import DataError
from robench.records.record import CertifyRecord

Certified = list[CertifyRecord] | tuple[CertifyRecord, ...] | npt.ArrayLike | torch.Tensor
"""Certificates of N images, in their order: records, or radii (N,) within which the predicted class is proven."""


@dataclass(frozen=True, eq=False)
class Proofs:
    """What is proven of N images.

    Fields:
        radius: (N,) within which the true class is proven; 0 where it is not.
        records: certificates of these images, in their order; empty where only radii are known.
    """

    radius: npt.NDArray[np.float64]
    records: Sequence[CertifyRecord] = ()


def certified_radii(data: AttackedData, certificates: Mapping[int, CertifyRecord]) -> npt.NDArray[np.float64]:
    """Certified radii of the images of a data set (N,), from records by index; 0 where there is none."""
    found = [certificates.get(index) for index in data.index.tolist()]
    return np.array([0.0 if record is None else record.radius("pairwise") for record in found])


def certified(certificates: Certified | None, data: AttackedData) -> Proofs:
    """Certificates in the order of the images, checked to be theirs; records get the index of the image.

    Raises:
        DataError: another number of certificates than of images, records of other images or labels, or radii that are
            not numbers from 0 up.
    """
    if certificates is None:
        return Proofs(np.zeros(len(data.labels)))
    if isinstance(certificates, list | tuple) and all(isinstance(item, CertifyRecord) for item in certificates):
        records = _of_images(certificates, data)
        return Proofs(np.array([record.radius("pairwise") for record in records]), records)
    radii = as_array(certificates, "certificates")
    if radii.shape != data.labels.shape or not np.issubdtype(radii.dtype, np.number) or np.iscomplexobj(radii):
        raise DataError(
            f"certificates of shape {radii.shape} and type {radii.dtype} are not one radius for each of "
            f"{len(data.labels)} images",
            hint="give radii (N,), or records of `robench certify`, in the order of the images",
        )
    if not (radii >= 0).all():
        raise DataError("a certified radius is negative or NaN", hint="give 0 where nothing is proven")
    return Proofs(np.minimum(radii.astype(np.float64), np.finfo(np.float64).max))


def _of_images(records: Sequence[CertifyRecord], data: AttackedData) -> list[CertifyRecord]:
    if len(records) != len(data.labels):
        raise DataError(
            f"{len(records)} certificates are given for {len(data.labels)} images",
            hint="give one for each image, in their order",
        )
    for row, (record, label) in enumerate(zip(records, data.labels.tolist(), strict=True)):
        image = np.ascontiguousarray(data.batch(slice(row, row + 1)), dtype="<f4")
        if (record.input_sha256, record.label) != (hashlib.sha256(image.tobytes()).hexdigest(), label):
            raise DataError(
                f"certificate {row} is not of image {row} and its label",
                hint="give the certificates of these very images, in their order",
            )
    return [
        dataclasses.replace(record, index=index) for record, index in zip(records, data.index.tolist(), strict=True)
    ]

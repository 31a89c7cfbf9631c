"""Certificates that a user gives with images in memory, checked to be theirs."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from robench.attacks.chunk import certified_radius
from robench.data.memory import Images, as_array
from robench.errors import DataError
from robench.records.record import CertifyRecord

Certified = list[CertifyRecord] | tuple[CertifyRecord, ...] | npt.ArrayLike | torch.Tensor
"""Certificates of N images, in their order: records, or radii (N,) within which the predicted class is proven."""


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
    radii = as_array(certificates, "certificates")
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

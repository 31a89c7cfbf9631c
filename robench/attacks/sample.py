"""A sample of the attacked images, to look for signs of a wrong evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from robench.attacks.attacked import AttackedData, AttackedModel
from robench.attacks.classifier import single_precision, two_logits
from robench.records.record import AttackRecord

SHARE, FEWEST, MOST = 0.05, 8, 50
"""How many images are looked at: this share, within these bounds."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Some of the correctly classified images, as a data set of their own.

    Fields:
        records: of the images.
        rows: of the images in the data set (n,).
        inputs, labels, index, bounds: as in the data set.
        x: the inputs on the device.
        label: the true classes on the device.
        module: the model in float32 on the device.
    """

    records: Sequence[AttackRecord]
    rows: npt.NDArray[np.int64]
    inputs: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]
    bounds: tuple[float, float]
    x: Tensor
    label: Tensor
    module: nn.Module

    def batch(self, rows: slice | npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Inputs of some images."""
        return self.inputs[rows]

    def logits(self, x: Tensor) -> Tensor:
        """Logits (n, q), q >= 2."""
        return two_logits(self.module(x))


def sample_of(
    model: AttackedModel, dataset: AttackedData, records: Sequence[AttackRecord], device: torch.device
) -> Sample | None:
    """Correctly classified images, evenly spaced over the run; None where there are none.

    Args:
        model: the attacked model.
        dataset: holds the attacked images, maybe more.
        records: of the run.
        device: where to compute.
    """
    position = {int(index): row for row, index in enumerate(dataset.index)}
    correct = [record for record in records if record.correct and record.index in position]
    if not correct:
        return None
    wanted = min(len(correct), MOST, max(FEWEST, round(SHARE * len(records))))
    chosen = np.unique(np.linspace(0, len(correct) - 1, wanted).round().astype(np.int64))
    of_chosen = [correct[i] for i in chosen.tolist()]
    rows = np.array([position[record.index] for record in of_chosen], dtype=np.int64)
    inputs, labels = np.ascontiguousarray(dataset.batch(rows)), dataset.labels[rows]
    return Sample(
        records=of_chosen,
        rows=rows,
        inputs=inputs,
        labels=labels,
        index=dataset.index[rows],
        bounds=dataset.bounds,
        x=torch.from_numpy(inputs).to(device),
        label=torch.from_numpy(labels).to(device),
        module=single_precision(model.module, device),
    )

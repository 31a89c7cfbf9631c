"""Which way adversarial examples lie, seen from their images: the slope of the model there, and the angle to it.

The paper (Serrurier et al., Prop. 1 and section 3.2) says of an optimal f that its gradient has norm 1, and that the
nearest adversarial example of x lies along -f(x) grad f(x), which is also where the transport plan sends x.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robench.attacks.attacked import AttackedData, AttackedModel
from robench.attacks.classifier import gradient_or_zero
from robench.devices import exact_arithmetic
from robench.models.networks.widened import widened
from robench.records.direction import Direction
from robench.records.record import AttackRecord

BATCH = 100
Points = Mapping[int, npt.NDArray[np.float32]]


def directions(
    model: AttackedModel,
    dataset: AttackedData,
    records: Sequence[AttackRecord],
    points: Points,
    *,
    device: torch.device,
) -> list[Direction]:
    """The slope at every attacked image, and the angle to its adversarial example where there is one; in float64.

    Args:
        model: the attacked model.
        dataset: holds the attacked images, maybe more.
        records: of the run.
        points: the nearest adversarial example by index, where one was found.
        device: where to compute.
    """
    row_of = {index: row for row, index in enumerate(dataset.index.tolist())}
    found: list[Direction] = []
    with exact_arithmetic():
        network = widened(model.module).eval().to(device)
        for start in range(0, len(records), BATCH):
            part = records[start : start + BATCH]
            rows = np.array([row_of[record.index] for record in part], dtype=np.int64)
            x = torch.from_numpy(np.ascontiguousarray(dataset.batch(rows))).double().to(device)
            own, gap = (gradients.cpu().numpy() for gradients in _gradients(network, x, part))
            steps = [_step(record, points, clean) for record, clean in zip(part, x.cpu().numpy(), strict=True)]
            found += [
                Direction(index=record.index, slope=float(np.linalg.norm(slope)), cosine=_cosine(step, -fall))
                for record, slope, fall, step in zip(part, own, gap, steps, strict=True)
            ]
    return found


def _gradients(network: torch.nn.Module, x: Tensor, records: Sequence[AttackRecord]) -> tuple[Tensor, Tensor]:
    """Gradients (n, d) of the predicted logit, and of its gap to the class of the adversarial; of |f| for one logit."""
    with torch.enable_grad():
        leaf = x.clone().requires_grad_(True)
        logits = network(leaf).reshape(len(x), -1)
        here = torch.tensor([record.predicted for record in records], device=x.device)
        if logits.shape[1] == 1:
            gap = gradient_or_zero((logits[:, 0] * (2 * here - 1)).sum(), leaf).flatten(1)
            return gap, gap
        there = torch.tensor([_reached(record) for record in records], device=x.device)
        own = gradient_or_zero(logits.gather(1, here[:, None]).sum(), leaf, retain_graph=True).flatten(1)
        other = gradient_or_zero(logits.gather(1, there[:, None]).sum(), leaf).flatten(1)
    return own, own - other


def _reached(record: AttackRecord) -> int:
    """The class of the nearest adversarial; the predicted one where there is none."""
    reached = None if record.attack is None else record.attacks[record.attack].predicted
    return record.predicted if reached is None else reached


def _step(record: AttackRecord, points: Points, clean: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """From an image to its nearest adversarial; None where there is none."""
    point = points.get(record.index)
    return None if point is None or not record.correct else (point.astype(np.float64) - clean).ravel()


def _cosine(one: npt.NDArray[np.float64] | None, other: npt.NDArray[np.float64]) -> float | None:
    """Of the angle between two vectors; None where one of them has no direction."""
    length = 0.0 if one is None else float(np.linalg.norm(one) * np.linalg.norm(other))
    return None if one is None or not 0.0 < length < np.inf else float(np.clip(one @ other / length, -1.0, 1.0))

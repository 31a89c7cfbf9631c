"""A data set on the device, and the order in which an epoch walks through it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from robench.data import Dataset


class Batch(NamedTuple):
    """Inputs (n, ...) float32 in the user's units, labels (n,) int64."""

    inputs: Tensor
    labels: Tensor


class DeviceData:
    """A data set held on the device as it is stored; bytes become floats one batch at a time.

    Args:
        dataset: what to hold.
        device: where.
    """

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self.inputs = torch.from_numpy(dataset.inputs).to(device)
        self.labels = torch.from_numpy(dataset.labels).to(device)
        self.bounds = dataset.bounds
        self.device = device

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int) -> Iterator[Batch]:
        """All rows in order."""
        for start in range(0, len(self), size):
            yield self._batch(slice(start, start + size))

    def epoch(self, size: int, *, seed: int, epoch: int, balance: bool = False) -> Iterator[Batch]:
        """As many rows as there are, in an order that depends on seed and epoch only: a resumed run sees the same.

        Args:
            size: rows of a batch.
            seed: of the order.
            epoch: number of the epoch.
            balance: take the classes in turn, drawing from each without replacement until it is used up and again;
                else each row comes once.
        """
        draw = generator(seed, epoch, stream=0)
        order = _in_turn(self.labels.cpu(), draw) if balance else torch.randperm(len(self), generator=draw)
        order = order.to(self.device)
        for start in range(0, len(self), size):
            yield self._batch(order[start : start + size])

    def _batch(self, rows: slice | Tensor) -> Batch:
        inputs = self.inputs[rows]
        floats = inputs.to(torch.float32).div_(255) if inputs.dtype == torch.uint8 else inputs.to(torch.float32)
        return Batch(floats, self.labels[rows])


def _in_turn(labels: Tensor, draw: torch.Generator) -> Tensor:
    """Rows (N,) whose classes alternate."""
    members = [torch.nonzero(labels == label)[:, 0] for label in torch.unique(labels)]
    each = -(-len(labels) // len(members))
    columns = []
    for rows in members:
        rounds = [rows[torch.randperm(len(rows), generator=draw)] for _ in range(-(-each // len(rows)))]
        columns.append(torch.cat(rounds)[:each])
    return torch.stack(columns, dim=1).flatten()[: len(labels)]


def generator(seed: int, epoch: int, *, stream: int) -> torch.Generator:
    """A generator on the CPU for one purpose (`stream`) in one epoch.

    Args:
        seed: of the training.
        epoch: its number.
        stream: number of the purpose.
    """
    mixed = torch.randint(2**62, (3,), generator=torch.Generator().manual_seed(seed)).tolist()
    value = (mixed[0] + epoch * (2 * mixed[1] + 1) + stream * (2 * mixed[2] + 1)) % 2**63
    return torch.Generator().manual_seed(value)

"""Several processes that train one model together, as torch's `torchrun` starts them: each has a part of every batch.

Expectations of the losses are means over the whole batch, some of them class by class. So the logits of all parts are
gathered, each process computes the loss of the whole batch, and its gradients are those of its own logits: their sum
over the processes is the gradient of one process (docs/design/0024).
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

_NEWER = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
NO_BUFFERS: dict[str, Any] = {"forward_sync_buffers" if _NEWER else "broadcast_buffers": False}
"""What says to torch that buffers are not to be sent."""


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this one is; the first one writes.

    Fields:
        rank: from 0 up.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    def part(self, n: int) -> slice:
        """The rows of a batch of n that this process computes; there may be none.

        Args:
            n: rows of the batch.
        """
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def replicated(self, model: nn.Module) -> nn.Module:
        """The model, whose gradients are averaged over the processes.

        Args:
            model: the same in each; its buffers follow from its parameters, so they are not sent.
        """
        return model if self.size == 1 else DistributedDataParallel(model, **NO_BUFFERS)

    def gathered(self, logits: Tensor, n: int) -> Tensor:
        """The logits (n, q) of the whole batch; gradients flow into those of this process alone.

        Args:
            logits: of the rows in `part`; of any one row where there is none.
            n: rows of the batch.
        """
        if self.size == 1:
            return logits
        rows = self.part(n)
        whole = logits.new_zeros((n, *logits.shape[1:]))
        if rows.stop == rows.start:
            dist.all_reduce(whole)
            return whole + 0.0 * logits.sum()
        whole[rows] = logits.detach()
        dist.all_reduce(whole)
        return torch.cat([whole[: rows.start], logits, whole[rows.stop :]])

    def shared(self, value: Any) -> Any:
        """What the first process has, in all of them.

        Args:
            value: of the first one; of the others it does not matter.
        """
        if self.size == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]


ALONE = Ranks()


def own_device(device: torch.device) -> torch.device:
    """The device of a process that `torchrun` has started: a GPU of its own, where several share a machine.

    Args:
        device: as asked.
    """
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if device.type == "cuda" else device


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """The processes that `torchrun` has started, while they train together.

    Args:
        device: where this process computes.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()

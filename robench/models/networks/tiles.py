"""Batches in tiles of fixed size, so that what a network gives for an input depends on that input alone.

Matrix products may round otherwise for another number of rows, and a row may be rounded otherwise in another place. So
a network is called on tiles of sizes for which its outputs were seen to be equal bit by bit, wherever a row stands and
whatever its neighbours are; missing rows are padded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

LARGEST = {"cpu": 16, "cuda": 256}
ENTRIES = {"cpu": 1 << 17, "cuda": 1 << 21}
"""Entries of a tile at most: a larger one costs memory and saves no time."""


def canonical(x: Tensor) -> Tensor:
    """A copy that is laid out in memory in one way only.

    With one channel, strides may say "channels last" by accident, and convolutions then take other code; a view of
    numpy's memory may be aligned in another way, and matrix products then may.
    """
    return x.detach().flatten(1).clone(memory_format=torch.contiguous_format).view(x.shape)


def probe_inputs(size: int, shape: Sequence[int], device: torch.device) -> Tensor:
    """Inputs on which sizes of tiles are tried: random, and the same in every run.

    Args:
        size: how many.
        shape: of one.
        device: where.
    """
    return torch.rand((size, *shape), generator=torch.Generator().manual_seed(0)).to(device)


def stable_sizes(run: Callable[[Tensor], Tensor], probe: Tensor, sizes: Sequence[int]) -> tuple[int, ...]:
    """The sizes whose rows are equal bit by bit in any place, and to those of the largest such size.

    Args:
        run: from a tile to one row of numbers an input.
        probe: as many inputs as the largest size.
        sizes: ascending, from 1.
    """
    largest = next(size for size in reversed(sizes) if size == 1 or _rolls(run, probe[:size]))
    smaller = [size for size in sizes if size < largest]
    if not smaller:
        return (largest,)
    truth = run(probe[:largest])
    return (*(size for size in smaller if _splits(run, probe[:largest], truth, size)), largest)


def _rolls(run: Callable[[Tensor], Tensor], probe: Tensor) -> bool:
    """Whether rows give the same bits in another place of the tile."""
    shift = (len(probe) // 2 + 1) % len(probe) or 1
    return torch.equal(run(probe.roll(shift, dims=0)), run(probe).roll(shift, dims=0))


def _splits(run: Callable[[Tensor], Tensor], probe: Tensor, truth: Tensor, size: int) -> bool:
    """Whether rows give the same bits in tiles of another size."""
    return torch.equal(torch.cat([run(part) for part in torch.split(probe, size)]), truth)


class Tiled:
    """A network on batches of any size, in tiles of one size, without gradients.

    Args:
        network: takes tensors (N, *shape) of its own type and device.
        shape: of one input.
        dtype: of the network.
        device: of the network.
    """

    def __init__(self, network: nn.Module, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
        self._network, self._shape, self._dtype, self._device = network, tuple(shape), dtype, device
        kind = "cuda" if device.type == "cuda" else "cpu"
        self.size = max(1, min(LARGEST[kind], ENTRIES[kind] // max(1, torch.Size(shape).numel())))

    def stable(self) -> Tiled:
        """The same in tiles of one input each, if larger ones do not give each input the same bits in any place."""
        if self.size > 1:
            probe = probe_inputs(self.size, self._shape, self._device)
            if not _rolls(lambda part: self._run(part).flatten(1).nan_to_num(), probe):
                self.size = 1
        return self

    def __call__(self, inputs: Tensor) -> Tensor:
        """Outputs (N, ...) of some inputs (N, *shape)."""
        found = []
        for part in torch.split(inputs, self.size):
            padding = part[:1].expand(self.size - len(part), *part.shape[1:])
            found.append(self._run(torch.cat([part, padding]))[: len(part)])
        return torch.cat(found)

    @torch.no_grad()
    def _run(self, tile: Tensor) -> Tensor:
        result: Tensor = self._network(canonical(tile.to(self._device)).to(self._dtype))
        return result

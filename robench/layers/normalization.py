"""Scaling of the input inside the model, so that radii stay in the units of the input the user sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robench.errors import SpecError


class InputNormalization(nn.Module):
    """(x - mean) / std for each channel; Lipschitz constant 1 / min(std), which belongs to the network's.

    Args:
        mean: one value a channel.
        std: one value a channel, above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not mean:
            raise SpecError(
                f"mean has {len(mean)} and std {len(std)} values", hint="give one value a channel for each of them"
            )
        if not all(value > 0 for value in std):
            raise SpecError(f"std must be above 0; got {list(std)}", hint="leave out constant channels, or use std 1")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> same shape."""
        shape = (-1,) + (1,) * (x.dim() - 2)
        return (x - self.mean.view(shape)) / self.std.view(shape)

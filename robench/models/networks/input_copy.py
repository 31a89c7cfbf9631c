"""Models that write into the images they are given: the function is that of the images before."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn


class Copy(nn.Module):
    """A copy of a batch, which what follows may write into."""

    def forward(self, x: Tensor) -> Tensor:
        """As it is."""
        return x.clone()


def writes_to_input(module: nn.Module, input_shape: tuple[int, ...]) -> bool:
    """Whether a pass changes the batch that it is given, as `x.sub_(mean)` does; torch counts what is written."""
    inputs = torch.rand((2, *input_shape), generator=torch.Generator().manual_seed(0))
    before = inputs._version
    with torch.no_grad():
        module(inputs)
    return inputs._version != before


def behind_copy(module: nn.Module) -> nn.Module:
    """The module behind a copy of its input."""
    return nn.Sequential(OrderedDict(copy=Copy(), model=module)).eval()


def is_behind_copy(module: nn.Module) -> bool:
    """Whether a module is one behind a copy of its input."""
    return isinstance(module, nn.Sequential) and len(module) > 0 and isinstance(module[0], Copy)

"""A layer as the matrix it is: the identity pushed through it, in float64."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


@torch.no_grad()
def dense_operator(layer: nn.Linear | nn.Conv2d, weight: Tensor, *input_shape: int) -> Tensor:
    """Matrix (inputs, outputs) of the layer with this weight and no bias, by unit vectors, all in float64."""
    size = int(torch.tensor(input_shape).prod())
    units = torch.eye(size, dtype=torch.float64).view(size, *input_shape)
    if isinstance(layer, nn.Linear):
        return nn.functional.linear(units, weight.double())
    plain = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        copy.copy(layer.padding),
        bias=False,
        padding_mode=layer.padding_mode,
    ).double()
    plain.weight.copy_(weight.double())
    return plain(units).flatten(1)


def train_a_little(layer: nn.Module, *input_shape: int, steps: int = 5, lr: float = 1e-2) -> None:
    """Adam on a loss that wants large outputs, so that a constraint has something to hold against."""
    generator = torch.Generator().manual_seed(7)
    optimizer = torch.optim.Adam(layer.parameters(), lr)
    layer.train()
    for _ in range(steps):
        optimizer.zero_grad()
        out = layer(torch.randn(16, *input_shape, generator=generator))
        (-(out * torch.randn(out.shape, generator=generator)).mean() - out.square().mean()).backward()
        optimizer.step()

"""Activations that preserve the gradient norm: sorts and reflections over the channels (dimension 1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from robench.errors import SpecError


def _pairs(x: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    """Even and odd channels of (N, C, ...)."""
    if x.dim() < 2 or x.shape[1] % 2:
        raise SpecError(
            f"{activation} needs an even number of channels; got an input of shape {tuple(x.shape)}",
            hint="give the layer before it an even number of outputs, or use `fullsort`",
        )
    paired = x.reshape(x.shape[0], -1, 2, *x.shape[2:])
    return paired.select(2, 0), paired.select(2, 1)


class _SortPairs(torch.autograd.Function):
    """(min, max) of channel pairs, some ten times faster on a CPU than through autograd's own gradients of min and max.

    A tie sends the gradient straight through, which is a subgradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        first, second = _pairs(x, "GroupSort2")
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        smaller, larger = _pairs(out, "GroupSort2")
        torch.minimum(first, second, out=smaller)
        torch.maximum(first, second, out=larger)
        ctx.save_for_backward(x)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Tensor:
        (x,) = ctx.saved_tensors
        first, second = _pairs(x, "GroupSort2")
        grad_smaller, grad_larger = _pairs(grad_outputs[0].contiguous(), "GroupSort2")
        # 0 or 1 as a number: lerp at 0 and 1 is exact, and much faster than torch.where on a boolean mask
        swapped = torch.empty_like(first)
        torch.gt(first, second, out=swapped)
        grad = torch.empty_like(x, memory_format=torch.contiguous_format)
        grad_first, grad_second = _pairs(grad, "GroupSort2")
        torch.lerp(grad_smaller, grad_larger, swapped, out=grad_first)
        torch.lerp(grad_larger, grad_smaller, swapped, out=grad_second)
        return grad


class GroupSort2(nn.Module):
    """Sorts channels by pairs, smaller first: (x_0, x_1) -> (min, max) (paper, section 4.1; Anil et al. 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) with even C -> same shape."""
        if torch.is_grad_enabled() and x.requires_grad:
            result: Tensor = _SortPairs.apply(x.contiguous())  # type: ignore[no-untyped-call]
            return result
        first, second = _pairs(x, "GroupSort2")
        return torch.stack((torch.minimum(first, second), torch.maximum(first, second)), dim=2).flatten(1, 2)


class FullSort(nn.Module):
    """Sorts all channels in ascending order (paper, section 4.1)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> same shape."""
        return x.sort(dim=1).values


class HouseHolder(nn.Module):
    """Reflects pairs of channels at a learnt line (Singla et al. 2021).

    A pair z with z . n <= 0 becomes z - 2 (z . n) n,
    n = (sin(a / 2), -cos(a / 2)), one angle a for each pair; a = pi / 2 at the start, which is a kind of sort.

    Args:
        channels: number of channels, even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < 2 or channels % 2:
            raise SpecError(
                f"HouseHolder needs an even number of channels; got {channels}",
                hint="give the layer before it an even number of outputs",
            )
        self.angle = nn.Parameter(torch.full((channels // 2,), torch.pi / 2))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> same shape."""
        first, second = _pairs(x, "HouseHolder")
        shape = (-1,) + (1,) * (x.dim() - 2)
        sine, cosine = torch.sin(self.angle / 2).view(shape), torch.cos(self.angle / 2).view(shape)
        depth = (first * sine - second * cosine).clamp_max(0)
        return torch.stack((first - 2 * depth * sine, second + 2 * depth * cosine), dim=2).flatten(1, 2)

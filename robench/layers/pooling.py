"""Pooling layers of Lipschitz constant 1; windows do not overlap (stride = window), no padding."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import avg_pool2d


def _window_slices(x: Tensor, side: int) -> list[Tensor]:
    """For each place in a window of side^2, the pixels (N, C, H // side, W // side) that lie there."""
    height, width = (size // side * side for size in x.shape[-2:])
    return [x[..., i:height:side, j:width:side] for i in range(side) for j in range(side)]


def _window_norms(x: Tensor, side: int) -> Tensor:
    """Root of the sum of x^2 over windows."""
    first, *others = _window_slices(x, side)
    total = first.square()
    for other in others:
        total = torch.addcmul(total, other, other)
    return total.sqrt()


class _WindowNorms(torch.autograd.Function):
    """`_window_norms` with a finite gradient everywhere: at a window of zeros it is 0, a subgradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, side: int) -> Tensor:
        norms = _window_norms(x, side)
        ctx.save_for_backward(x, norms)
        ctx.side = side
        return norms

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None]:
        x, norms = ctx.saved_tensors
        ratio = grad_outputs[0] / norms.clamp_min(torch.finfo(norms.dtype).tiny ** 0.5)
        exact_fit = x.shape[-2] % ctx.side == 0 and x.shape[-1] % ctx.side == 0
        grad = torch.empty_like(x) if exact_fit else torch.zeros_like(x)
        for target, pixels in zip(_window_slices(grad, ctx.side), _window_slices(x, ctx.side), strict=True):
            torch.mul(pixels, ratio, out=target)
        return grad, None


class L2NormPool2d(nn.Module):
    """The L2 norm of each window (paper, section 4.1: P-norm pooling, P = 2); preserves the gradient norm.

    Args:
        kernel_size: side of the square window, and stride. Rows and columns that do not fill a window are dropped.
    """

    def __init__(self, kernel_size: int = 2) -> None:
        super().__init__()
        self.kernel_size = kernel_size

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H // k, W // k)."""
        if torch.is_grad_enabled() and x.requires_grad:
            result: Tensor = _WindowNorms.apply(x, self.kernel_size)  # type: ignore[no-untyped-call]
            return result
        return _window_norms(x, self.kernel_size)

    def extra_repr(self) -> str:
        """The window."""
        return f"kernel_size={self.kernel_size}"


class ScaledAvgPool2d(nn.Module):
    """Average pooling times sqrt(kh kw) = k: its matrix has orthonormal rows, hence constant 1.

    Args:
        kernel_size: side of the square window, and stride.
    """

    def __init__(self, kernel_size: int = 2) -> None:
        super().__init__()
        self.kernel_size = kernel_size

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H // k, W // k)."""
        return avg_pool2d(x, self.kernel_size) * math.sqrt(self.kernel_size * self.kernel_size)

    def extra_repr(self) -> str:
        """The window."""
        return f"kernel_size={self.kernel_size}"

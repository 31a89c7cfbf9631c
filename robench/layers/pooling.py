"""Pooling layers of Lipschitz constant 1; windows do not overlap (stride = window), no padding."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d


class _RootOfPool(torch.autograd.Function):
    """sqrt(sum of x^2 over windows); the gradient at a window of zeros is 0, a subgradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: tuple[int, int]) -> Tensor:
        norms = avg_pool2d(x.square(), window, divisor_override=1).sqrt_()
        ctx.save_for_backward(x, norms)
        ctx.window = window
        return norms

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None]:
        (grad,) = grad_outputs
        x, norms = ctx.saved_tensors
        kh, kw = ctx.window
        ratio = torch.where(norms > 0, grad / norms, torch.zeros_like(grad))
        height, width = norms.shape[-2:]
        result = torch.zeros_like(x)
        blocks = x[..., : height * kh, : width * kw].unflatten(-1, (width, kw)).unflatten(-3, (height, kh))
        out = blocks * ratio[..., :, None, :, None]
        result[..., : height * kh, : width * kw] = out.flatten(-2).flatten(-3, -2)
        return result, None


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
        result: Tensor = _RootOfPool.apply(x, (self.kernel_size, self.kernel_size))  # type: ignore[no-untyped-call]
        return result

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

"""Kernels that are orthogonal as convolutions, from projectors (Li et al. 2019, Boissin et al. 2025)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robench.errors import SpecError
from robench.layers.parametrization import WeightMap
from robench.layers.polar import polar_factor, polar_factor_exact


def _times_left(projector: Tensor, kernel: Tensor, axis: int) -> Tensor:
    """(P + z (I - P)) K, z a shift along the axis: one tap longer, and orthogonal if K is."""
    kept = torch.einsum("ab,bcij->acij", projector, kernel)
    return _join(kept, kernel - kept, axis)


def _times_right(kernel: Tensor, projector: Tensor, axis: int) -> Tensor:
    """K (P + z (I - P))."""
    kept = torch.einsum("abij,bc->acij", kernel, projector)
    return _join(kept, kernel - kept, axis)


def _join(kept: Tensor, shifted: Tensor, axis: int) -> Tensor:
    empty = torch.zeros_like(kept.narrow(axis, 0, 1))
    return torch.cat((kept, empty), dim=axis) + torch.cat((empty, shifted), dim=axis)


class OrthogonalKernel(WeightMap):
    """A kernel (out, in, kh, kw) whose convolution with stride (sh, sw) has all singular values 1 on a torus.

    K = R * B: B is a product of kh - sh vertical and kw - sw horizontal factors P + z (I - P), P a projector of
    half rank, z a shift by one pixel; R (out, in, sh, sw) is orthogonal when reshaped to (out, in sh sw), and its
    patches do not overlap. Each factor is orthogonal as an operator, hence so is K. With stride 1 and out >= in, B
    stands to the left of R, on the out channels, where it has more freedom.

    The operator on the torus (circular padding) is an isometry if out >= in sh sw, and its adjoint is one if
    out <= in sh sw. Zero padding cuts it: the norm stays at most 1, but singular values below 1 belong to the border.
    With stride 1, out >= in and zero padding k - 1 ("full") nothing is cut and all singular values are 1.

    Args:
        conv: the convolution, for its sizes.

    Raises:
        SpecError: a stride longer than the kernel, which leaves pixels unread.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        (kh, kw), (sh, sw) = conv.kernel_size, conv.stride
        if kh < sh or kw < sw:
            raise SpecError(
                f"an orthogonal convolution cannot have stride {(sh, sw)} with a {kh} x {kw} kernel",
                hint="use a stride not longer than the kernel",
            )
        self.stride = (sh, sw)
        self.left = (sh, sw) == (1, 1) and conv.out_channels >= conv.in_channels
        self.channels = conv.out_channels if self.left else conv.in_channels
        self.axes = (2,) * (kh - sh) + (3,) * (kw - sw)

    def forward(self, root: Tensor, frames: Tensor) -> Tensor:  # type: ignore[override]
        """The kernel, from R and the frames (factors, channels, channels // 2) of the projectors, both before polar."""
        return self._compose(root, frames, polar_factor)

    @torch.no_grad()
    def exact(self, root: Tensor, frames: Tensor) -> Tensor:  # type: ignore[override]
        """The same in float64."""
        return self._compose(root.double(), frames.double(), polar_factor_exact)

    def _compose(self, root: Tensor, frames: Tensor, orthogonalise: Callable[[Tensor], Tensor]) -> Tensor:
        kernel = orthogonalise(root.flatten(1)).view_as(root)
        for axis, frame in zip(self.axes, frames, strict=True):
            basis = orthogonalise(frame)
            projector = basis @ basis.T
            kernel = _times_left(projector, kernel, axis) if self.left else _times_right(kernel, projector, axis)
        return kernel

    @torch.no_grad()
    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """A start, not an inverse: R is taken from the first taps of the weight, the projectors are drawn."""
        (sh, sw), c = self.stride, self.channels
        root = weight[:, :, :sh, :sw].contiguous()
        frames = torch.randn(len(self.axes), c, c // 2, dtype=weight.dtype, device=weight.device)
        start = polar_factor_exact(root.flatten(1)).to(weight).view_as(root)
        return start, torch.stack([polar_factor_exact(frame).to(weight) for frame in frames]) if len(frames) else frames

"""Linear operations that slide a window over images: convolutions, their adjoints, pooling, interpolation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from robench.lipschitz.norms.groups import convolution_norm_upper
from robench.lipschitz.norms.linear import LinearOp, schur_bound
from robench.lipschitz.norms.spectral import spectral_norm_upper
from robench.lipschitz.norms.torus import Geometry
from robench.numerics import gamma, round_up

Shape = tuple[int, ...]

CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


@dataclass(eq=False)
class Sliding(LinearOp):
    """A convolution, or the adjoint of one.

    Fields:
        kernel: (groups, out per group, in per group, *taps) of the convolution.
        geometry: of the convolution.
        padding: zeros on each side of each spatial axis (before the window slides); (before, after) pairs.
        lead: samples × positions merged into the leading axis, for one sample.
    """

    kernel: Tensor
    geometry: Geometry
    padding: tuple[tuple[int, int], ...]
    lead: int

    @property
    def _options(self) -> dict[str, Any]:
        """Of torch's functions."""
        return {
            "stride": self.geometry.stride,
            "dilation": self.geometry.dilation,
            "groups": self.kernel.shape[0],
        }

    def _count(self, channels: int) -> int:
        """Terms of a sum over these channels and all taps."""
        return channels * math.prod(self.kernel.shape[3:]) + 2

    def _norm(self) -> float:
        return convolution_norm_upper(self.kernel, self.geometry)

    def _absolute_norm(self) -> float:
        size = self.kernel.abs().flatten(3).sum(-1)
        return schur_bound(float(size.sum(2).max()), float(size.sum(1).max()), self.terms * 2 + size.shape[1])


@dataclass(eq=False)
class Convolution(Sliding):
    """A convolution with zero padding, or on a closed torus.

    Fields:
        output_size: spatial sides of the result.
    """

    output_size: Shape
    operation: str = "conv"

    def __post_init__(self) -> None:
        """Count the terms of a sum."""
        self.terms = self._count(self.kernel.shape[2])

    def apply(self, x: Tensor) -> Tensor:
        """Convolve."""
        groups, _, inner = self.kernel.shape[:3]
        kernel = self.kernel.flatten(0, 1)
        images = x.reshape(x.shape[0] * self.lead, groups * inner, *self.geometry.size)
        pads = [side for pair in reversed(self.padding) for side in pair]
        mode = "circular" if self.geometry.circular else "constant"
        padded = functional.pad(images, pads, mode) if any(pads) else images
        result: Tensor = CONVOLUTIONS[kernel.dim() - 2](padded, kernel, **self._options).reshape(x.shape[0], -1)
        return result


@dataclass(eq=False)
class TransposedConvolution(Sliding):
    """The adjoint of a convolution: from what that gives to the images that it reads."""

    operation: str = "conv_transpose"

    def __post_init__(self) -> None:
        """Count the terms of a sum."""
        self.terms = self._count(self.kernel.shape[1])

    def apply(self, x: Tensor) -> Tensor:
        """Apply the adjoint."""
        kernel = self.kernel.flatten(0, 1)
        images = x.reshape(x.shape[0] * self.lead, kernel.shape[0], *self.input_size)
        full = TRANSPOSED[kernel.dim() - 2](images, kernel, **self._options)
        return self._crop(full).reshape(x.shape[0], -1)

    @cached_property
    def input_size(self) -> Shape:
        """Spatial sides of what the convolution gives."""
        geometry, taps = self.geometry, self.kernel.shape[3:]
        sides = zip(geometry.size, self.padding, geometry.dilation, taps, geometry.stride, strict=True)
        return tuple((size + sum(pad) - d * (side - 1) - 1) // stride + 1 for size, pad, d, side, stride in sides)

    def _crop(self, full: Tensor) -> Tensor:
        """The part of a full transposed convolution on the image, with zeros where it does not reach."""
        pads: list[int] = []
        sides = list(zip(full.shape[2:], self.padding, self.geometry.size, strict=True))
        for side, (before, _), size in reversed(sides):
            pads += [-before, size - (side - before)]
        return functional.pad(full, pads)


class Window(NamedTuple):
    """Taps (*taps,) that slide over each channel alone.

    Fields:
        taps: the same for each channel.
        stride: of each axis.
        channels: of an image.
    """

    taps: Tensor
    stride: Shape
    channels: int


@dataclass(eq=False)
class Separable(LinearOp):
    """One matrix (out, in) for each of the last axes: average pooling, interpolation, padding.

    Its norm is the product of theirs, exactly (Kronecker product).

    Fields:
        matrices: of the axes.
        window: the convolution that this is, where no window is cut off.
    """

    matrices: tuple[Tensor, ...]
    operation: str
    window: Window | None = None

    def __post_init__(self) -> None:
        """Count the terms of a sum."""
        self.terms = math.prod(int((matrix != 0).sum(1).max()) for matrix in self.matrices) + 2

    def apply(self, x: Tensor) -> Tensor:
        """Multiply each axis by its matrix."""
        sides = tuple(matrix.shape[1] for matrix in self.matrices)
        result = x.reshape(x.shape[0], -1, *sides)
        for matrix in self.matrices:
            result = torch.tensordot(result, matrix, dims=([2], [1]))  # the new axis goes last: a full turn in the end
        return result.flatten(1)

    def _norm(self) -> float:
        bound = math.prod(spectral_norm_upper(matrix) for matrix in self.matrices)
        return round_up(bound * (1 + gamma(self.terms + 16)), 2)

    def _absolute_norm(self) -> float:
        return math.prod(
            schur_bound(float(m.abs().sum(1).max()), float(m.abs().sum(0).max()), max(m.shape)) for m in self.matrices
        )

    @cached_property
    def column_sum(self) -> float:
        """The product of the largest column sums."""
        return self._largest_sum(0)

    @cached_property
    def row_sum(self) -> float:
        """The product of the largest row sums."""
        return self._largest_sum(1)

    def _largest_sum(self, axis: int) -> float:
        sums = math.prod(float(matrix.abs().sum(axis).max()) for matrix in self.matrices)
        return round_up(sums * (1 + gamma(sum(max(matrix.shape) for matrix in self.matrices) + 16)), 2)

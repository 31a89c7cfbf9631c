"""Linear operations as the audit knows them: how they act, an upper bound of their norm, and how they join.

Each acts on rows of flat float64 vectors, (K, n) -> (K, m), without its offset.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from robench.lipschitz.norms.convolution import Geometry
from robench.lipschitz.norms.groups import convolution_norm_upper
from robench.lipschitz.norms.spectral import spectral_norm_upper
from robench.numerics import gamma, round_up

Shape = tuple[int, ...]

CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def schur_bound(rows: float, columns: float, terms: int) -> float:
    """√(largest row sum · largest column sum) of absolute values, an upper bound of the norm of |A|, rounded up."""
    return round_up(math.sqrt(rows * columns) * (1 + gamma(terms + 8)), 2)


class LinearOp(ABC):
    """A linear operation on one sample.

    Fields:
        operation: its name in the audit's table.
        terms: number of products in one of its sums, roundings of its coefficients included.
        entrywise: the result has the size of its input, so that it cannot broadcast.
    """

    operation: str
    terms: int
    entrywise: ClassVar[bool] = False

    @abstractmethod
    def apply(self, x: Tensor) -> Tensor:
        """(K, n) -> (K, m)."""

    @abstractmethod
    def _norm(self) -> float: ...

    @abstractmethod
    def _absolute_norm(self) -> float: ...

    @cached_property
    def norm(self) -> float:
        """An upper bound of the spectral norm."""
        return self._norm()

    @cached_property
    def absolute_norm(self) -> float:
        """An upper bound of the spectral norm of the entrywise absolute values: what rounding errors see."""
        return self._absolute_norm()

    @cached_property
    def column_sum(self) -> float:
        """An upper bound of the largest absolute column sum."""
        return math.inf

    def after(self, first: LinearOp) -> LinearOp | None:
        """`self ∘ first` as one operation, exactly, where that is cheap."""
        return None


@dataclass(eq=False)
class Dense(LinearOp):
    """A matrix on the last axis: x -> x Wᵀ, weight (out, in)."""

    weight: Tensor
    operation: str = "dense"

    def __post_init__(self) -> None:
        """Count the terms of a sum."""
        self.terms = self.weight.shape[1] + 2

    def apply(self, x: Tensor) -> Tensor:
        """Multiply each position."""
        return (x.reshape(x.shape[0], -1, self.weight.shape[1]) @ self.weight.T).flatten(1)

    def _norm(self) -> float:
        return spectral_norm_upper(self.weight)

    def _absolute_norm(self) -> float:
        size = self.weight.abs()
        return schur_bound(float(size.sum(1).max()), float(size.sum(0).max()), max(size.shape))


@dataclass(eq=False)
class Convolution(LinearOp):
    """A convolution with zero padding, or on a closed torus; or the adjoint of one.

    Fields:
        kernel: (groups, out per group, in per group, *taps) of the convolution whose adjoint this is, if `adjoint`.
        geometry: of that convolution.
        padding: zeros on each side of each spatial axis (before the window slides); (before, after) pairs.
        lead: samples × positions merged into the leading axis, for one sample.
        output_size: spatial sides of the result.
    """

    kernel: Tensor
    geometry: Geometry
    padding: tuple[tuple[int, int], ...]
    lead: int
    output_size: Shape
    adjoint: bool = False
    operation: str = "conv"

    def __post_init__(self) -> None:
        """Count the terms of a sum."""
        inner = self.kernel.shape[1] if self.adjoint else self.kernel.shape[2]
        self.terms = inner * math.prod(self.kernel.shape[3:]) + 2

    def apply(self, x: Tensor) -> Tensor:
        """Convolve, or apply the adjoint."""
        groups, _, inner = self.kernel.shape[:3]
        kernel = self.kernel.flatten(0, 1)
        axes = kernel.dim() - 2
        options: dict[str, Any] = {"stride": self.geometry.stride, "dilation": self.geometry.dilation, "groups": groups}
        if self.adjoint:
            images = x.reshape(x.shape[0] * self.lead, kernel.shape[0], *self.output_of_forward)
            full = TRANSPOSED[axes](images, kernel, **options)
            return self._crop(full).reshape(x.shape[0], -1)
        images = x.reshape(x.shape[0] * self.lead, groups * inner, *self.geometry.size)
        pads = [side for pair in reversed(self.padding) for side in pair]
        mode = "circular" if self.geometry.circular else "constant"
        padded = functional.pad(images, pads, mode) if any(pads) else images
        result: Tensor = CONVOLUTIONS[axes](padded, kernel, **options).reshape(x.shape[0], -1)
        return result

    @cached_property
    def output_of_forward(self) -> Shape:
        """Spatial sides of the result of the convolution whose adjoint this is: this one's input."""
        return tuple(
            (size + sum(pad) - dilation * (taps - 1) - 1) // stride + 1
            for size, pad, dilation, taps, stride in zip(
                self.geometry.size,
                self.padding,
                self.geometry.dilation,
                self.kernel.shape[3:],
                self.geometry.stride,
                strict=True,
            )
        )

    def _crop(self, full: Tensor) -> Tensor:
        """The part of a full transposed convolution on the image, with zeros where it does not reach."""
        pads: list[int] = []
        sides = list(zip(full.shape[2:], self.padding, self.geometry.size, strict=True))
        for side, (before, _), size in reversed(sides):
            pads += [-before, size - (side - before)]
        return functional.pad(full, pads)

    def _norm(self) -> float:
        return convolution_norm_upper(self.kernel, self.geometry)

    def _absolute_norm(self) -> float:
        size = self.kernel.abs().flatten(3).sum(-1)
        return schur_bound(float(size.sum(2).max()), float(size.sum(1).max()), self.terms * 2 + size.shape[1])

    def after(self, first: LinearOp) -> LinearOp | None:
        """Join with a scaling of channels before, or with a convolution that this one does not pad."""
        if self.adjoint:
            return None
        if isinstance(first, Diagonal):
            return self._after_scaling(first)
        if isinstance(first, Convolution) and not first.adjoint and not any(map(any, self.padding)):
            return self._after_convolution(first)
        return None

    def _after_scaling(self, first: Diagonal) -> LinearOp | None:
        groups, _, inner = self.kernel.shape[:3]
        factors = first.by_channel(self.lead, groups * inner)
        if factors is None:
            return None
        scale = factors.reshape(groups, 1, inner, *(1 for _ in self.geometry.size))
        return self._with_kernel(self.kernel * scale, f"{first.operation}+{self.operation}")

    def _after_convolution(self, first: Convolution) -> LinearOp | None:
        if first.geometry.circular or any(d != 1 for d in self.geometry.dilation + first.geometry.dilation):
            return None
        if (first.lead, first.output_size) != (self.lead, self.geometry.size):
            return None  # reshaped in between
        outer, inner = _ungrouped(self.kernel), _ungrouped(first.kernel)
        if outer.shape[1] != inner.shape[0]:
            return None
        sides = [
            a + s * (b - 1) for a, b, s in zip(inner.shape[2:], outer.shape[2:], first.geometry.stride, strict=True)
        ]
        if outer.shape[0] * inner.shape[1] * math.prod(sides) > 1 << 21:
            return None
        # K(o, i, t + s u) = sum over m of outer(o, m, u) inner(m, i, t): a transposed convolution of the kernels
        joined = TRANSPOSED[len(sides)](outer, inner, stride=first.geometry.stride)
        geometry = Geometry(
            first.geometry.size,
            tuple(a * b for a, b in zip(first.geometry.stride, self.geometry.stride, strict=True)),
            (1,) * len(sides),
            padding=first.padding,
        )
        joint = Convolution(
            joined[None],
            geometry,
            first.padding,
            first.lead,
            self.output_size,
            operation=f"{first.operation}+{self.operation}",
        )
        joint.terms = first.terms + self.terms
        return joint

    def _with_kernel(self, kernel: Tensor, operation: str) -> Convolution:
        joint = Convolution(kernel, self.geometry, self.padding, self.lead, self.output_size, self.adjoint, operation)
        joint.terms = self.terms + 8
        return joint

    def scaled_outputs(self, scale: Diagonal) -> LinearOp | None:
        """`scale ∘ self`, for factors that are equal within a channel."""
        groups, out = self.kernel.shape[:2]
        factors = scale.by_channel(self.lead, groups * out)
        if factors is None or self.adjoint:
            return None
        shaped = factors.reshape(groups, out, 1, *(1 for _ in self.geometry.size))
        return self._with_kernel(self.kernel * shaped, f"{self.operation}+{scale.operation}")


def _ungrouped(kernel: Tensor) -> Tensor:
    """(groups, o, i, *taps) as one (groups·o, groups·i, *taps) kernel with zeros between the groups."""
    groups, out, inner = kernel.shape[:3]
    full = kernel.new_zeros(groups, out, groups, inner, *kernel.shape[3:])
    for group in range(groups):
        full[group, :, group] = kernel[group]
    return full.reshape(groups * out, groups * inner, *kernel.shape[3:])


@dataclass(eq=False)
class Diagonal(LinearOp):
    """Entrywise factors: a scalar, or one for each of the n entries of a sample."""

    entrywise: ClassVar[bool] = True
    factors: Tensor
    operation: str = "scale"
    terms: int = 2

    def apply(self, x: Tensor) -> Tensor:
        """Multiply entrywise."""
        return x * self.factors

    def _norm(self) -> float:
        return float(self.factors.abs().max())

    def _absolute_norm(self) -> float:
        return self.norm

    @cached_property
    def column_sum(self) -> float:
        """The largest factor."""
        return self.norm

    def by_channel(self, lead: int, channels: int) -> Tensor | None:
        """One factor a channel (channels,), if they are equal within each."""
        if self.factors.dim() == 0:
            return self.factors.expand(channels)
        if lead != 1 or self.factors.numel() % channels:
            return None
        table = self.factors.reshape(channels, -1)
        return table[:, 0] if bool((table == table[:, :1]).all()) else None

    def after(self, first: LinearOp) -> LinearOp | None:
        """Join with a scaling, a convolution (by channel) or a matrix."""
        if isinstance(first, Diagonal):
            joint = Diagonal(self.factors * first.factors, f"{first.operation}+{self.operation}")
            joint.terms = self.terms + first.terms + 2
            return joint
        if isinstance(first, Convolution):
            return first.scaled_outputs(self)
        if isinstance(first, Dense) and self.factors.numel() in (1, first.weight.shape[0]):
            joined = Dense(self.factors.reshape(-1, 1) * first.weight, f"{first.operation}+{self.operation}")
            joined.terms = first.terms + self.terms + 2
            return joined
        return None


@dataclass(eq=False)
class Separable(LinearOp):
    """One matrix (out, in) for each of the last axes: average pooling, interpolation, padding.

    Its norm is the product of theirs, exactly (Kronecker product).
    """

    matrices: tuple[Tensor, ...]
    operation: str
    as_kernel: Callable[[], Tensor | None] = lambda: None
    """(*taps,) of the uniform unpadded window that this is, if it is one."""
    stride: Shape = ()
    channels: tuple[int, int] = (1, 1)
    """Samples × positions in the leading axis, and channels."""

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

    def after(self, first: LinearOp) -> LinearOp | None:
        """Join an unpadded window with the convolution before it: a convolution with a larger stride."""
        taps = self.as_kernel()
        if taps is None or not isinstance(first, Convolution) or first.adjoint or self.channels[0] != 1:
            return None
        sides = tuple(matrix.shape[1] for matrix in self.matrices)
        channels = self.channels[1]
        window = Convolution(
            taps.expand(channels, 1, 1, *taps.shape),
            Geometry(sides, self.stride, (1,) * taps.dim()),
            ((0, 0),) * taps.dim(),
            1,
            tuple(matrix.shape[0] for matrix in self.matrices),
            operation=self.operation,
        )
        return window.after(first)


@dataclass(eq=False)
class Reduction(LinearOp):
    """A sum over axes of a sample of `shape`, times a factor (a mean: 1/count)."""

    shape: Shape
    axes: tuple[int, ...]
    factor: float
    operation: str

    def __post_init__(self) -> None:
        """Count the terms of a sum."""
        self.count = math.prod(self.shape[axis] for axis in self.axes)
        self.kept = tuple(1 if axis in self.axes else side for axis, side in enumerate(self.shape))
        self.terms = self.count + 2

    def apply(self, x: Tensor) -> Tensor:
        """Sum and scale."""
        summed = x.reshape(x.shape[0], *self.shape).sum(tuple(axis + 1 for axis in self.axes))
        return (summed * self.factor).reshape(x.shape[0], -1)

    def _norm(self) -> float:
        return round_up(abs(self.factor) * math.sqrt(self.count), 3)

    def _absolute_norm(self) -> float:
        return self.norm

    @cached_property
    def column_sum(self) -> float:
        """The factor."""
        return abs(self.factor)


@dataclass(eq=False)
class Centering(LinearOp):
    """x minus its mean over some axes: an orthogonal projection, norm 1."""

    entrywise: ClassVar[bool] = True
    mean: Reduction
    operation: str = "centering"

    def __post_init__(self) -> None:
        """Count the terms of a sum."""
        self.terms = self.mean.terms + 1

    def apply(self, x: Tensor) -> Tensor:
        """Subtract the mean."""
        shaped = x.reshape(x.shape[0], *self.mean.shape)
        return (shaped - shaped.mean(tuple(axis + 1 for axis in self.mean.axes), keepdim=True)).flatten(1)

    def _norm(self) -> float:
        return 1.0

    def _absolute_norm(self) -> float:
        return 2.0


@dataclass(eq=False)
class Combination(LinearOp):
    """A weighted sum of linear maps of one and the same vector.

    Fields:
        maps: the maps, (K, n) -> (K, m).
        bound: Σ |weight| · norm of each, an upper bound; `absolute` the same with norms of absolute values.
    """

    maps: tuple[Callable[[Tensor], Tensor], ...]
    weights: tuple[float, ...]
    bound: float
    absolute: float
    operation: str = "sum"
    terms: int = 4

    def apply(self, x: Tensor) -> Tensor:
        """Add up."""
        total = self.weights[0] * self.maps[0](x)
        for weight, function in zip(self.weights[1:], self.maps[1:], strict=True):
            total = total + weight * function(x)
        return total

    def _norm(self) -> float:
        return self.bound

    def _absolute_norm(self) -> float:
        return self.absolute

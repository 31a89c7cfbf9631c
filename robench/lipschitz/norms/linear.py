"""Linear operations as the bound knows them: how they act, and an upper bound of their norm.

Each acts on rows of flat float64 vectors, (K, n) -> (K, m), without its offset. Those that slide over images are in
`windows.py`; how two join to one is in `joining.py`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from robench.lipschitz.norms.spectral import spectral_norm_upper, stacked_norm_upper
from robench.numerics import gamma, round_up


def schur_bound(rows: float, columns: float, terms: int) -> float:
    """√(largest row sum · largest column sum) of absolute values, an upper bound of the norm of |A|, rounded up.

    Args:
        rows: largest row sum, as computed.
        columns: largest column sum, as computed.
        terms: of the sums, which round.
    """
    return round_up(math.sqrt(rows * columns) * (1 + gamma(terms + 8)), 2)


class LinearOp(ABC):
    """A linear operation on one sample.

    Fields:
        operation: its name in the table of layers.
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
class Blocks(LinearOp):
    """A matrix for each index of the last axis but one: x (…, g, in) -> (…, g, out), weight (g, out, in)."""

    weight: Tensor
    operation: str = "dense"

    def __post_init__(self) -> None:
        """Count the terms of a sum."""
        self.terms = self.weight.shape[2] + 2

    def apply(self, x: Tensor) -> Tensor:
        """Multiply each position."""
        shaped = x.reshape(x.shape[0], -1, self.weight.shape[0], self.weight.shape[2])
        return torch.einsum("npgk,gok->npgo", shaped, self.weight).flatten(1)

    def _norm(self) -> float:
        return stacked_norm_upper(self.weight)

    def _absolute_norm(self) -> float:
        size = self.weight.abs()
        return schur_bound(float(size.sum(2).max()), float(size.sum(1).max()), max(size.shape))


@dataclass(eq=False)
class Adding(LinearOp):
    """Each entry added to the entry of the result that it belongs to: the adjoint of a selection.

    Fields:
        index: for each entry, 1 + its place in the result; 0 for those that are left out.
        size: entries of the result.
    """

    index: Tensor
    size: int
    operation: str = "fold"

    def __post_init__(self) -> None:
        """Count the terms of a sum."""
        counts = torch.bincount(self.index, minlength=self.size + 1)[1:]
        self.most = int(counts.max())
        self.terms = self.most + 2

    def apply(self, x: Tensor) -> Tensor:
        """Add up."""
        return x.new_zeros(x.shape[0], self.size + 1).index_add(1, self.index, x)[:, 1:]

    def _norm(self) -> float:
        return round_up(math.sqrt(self.most))

    def _absolute_norm(self) -> float:
        return self.norm


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

    def by_channel(self, lead: int, channels: int) -> Tensor | None:
        """One factor a channel (channels,), if they are equal within each."""
        if self.factors.dim() == 0:
            return self.factors.expand(channels)
        if lead != 1 or self.factors.numel() % channels:
            return None
        table = self.factors.reshape(channels, -1)
        return table[:, 0] if bool((table == table[:, :1]).all()) else None


@dataclass(eq=False)
class Reduction(LinearOp):
    """A sum over axes of a sample of `shape`, times a factor (a mean: 1/count)."""

    shape: tuple[int, ...]
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

"""What all constraints have in common: a trainable map of the weight, and the same map in exact float64."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class WeightMap(nn.Module, ABC):
    """A parametrization of a weight (out, in, ...), read as the matrix (out, in * ...).

    `forward` is what training differentiates, and may be approximate; `exact` is what an export writes.
    """

    @abstractmethod
    def forward(self, weight: Tensor) -> Tensor:
        """The constrained weight, of the same shape."""

    @abstractmethod
    def exact(self, weight: Tensor) -> Tensor:
        """The constrained weight by a direct float64 method, without gradient and without change of state."""

    def right_inverse(self, weight: Tensor) -> Any:
        """The parameter (or parameters) for a weight that is assigned: the weight itself, unless overridden."""
        return weight


class Scale(WeightMap):
    """Multiplies the weight by a constant.

    Args:
        factor: the constant.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, weight: Tensor) -> Tensor:
        """`factor * weight`."""
        return weight * self.factor

    def exact(self, weight: Tensor) -> Tensor:
        """`factor * weight`."""
        return weight * self.factor

    def right_inverse(self, weight: Tensor) -> Tensor:
        """`weight / factor`."""
        return weight / self.factor

    def extra_repr(self) -> str:
        """The factor."""
        return f"factor={self.factor:.6g}"

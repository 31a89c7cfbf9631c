"""What attacks need of a model and of images."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import nn


class AttackedModel(Protocol):
    """What is needed of a model (`models.LoadedModel`, `models.HeldModel`)."""

    @property
    def module(self) -> nn.Module:
        """Plain layers, eval mode."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Without the batch."""

    @property
    def classes(self) -> int:
        """2 for one logit."""


class AttackedData(Protocol):
    """What is needed of a data set (`data.Dataset`)."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) in 0..q-1."""

    @property
    def index(self) -> npt.NDArray[np.int64]:
        """(N,) positions in the split."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The box of valid inputs."""

    def batch(self, rows: slice | npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Inputs of some rows (n, *shape)."""

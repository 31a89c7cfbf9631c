"""The last layer of a multi-class network: every output 1-Lipschitz by itself."""

from __future__ import annotations

import torch
from torch import Tensor

from robench.layers.parametrization import WeightMap


class UnitRows(WeightMap):
    """Divides each row by its norm, so that each output is 1-Lipschitz by itself (paper, section 4.2).

    A row that is exactly zero stays zero.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """Rows of norm 1."""
        norms: Tensor = weight.norm(dim=1, keepdim=True)
        return weight / norms.clamp_min(torch.finfo(weight.dtype).tiny)

    @torch.no_grad()
    def exact(self, weight: Tensor) -> Tensor:
        """Rows of norm 1, in float64."""
        return self.forward(weight.double())

"""Models as adv-lib takes them: inputs in [0, 1], and at least four classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FEWEST = 4
"""Classes that the difference-of-logits ratio of targeted APGD needs (Croce & Hein 2020, Eq. 7)."""


class UnitBox(nn.Module):
    """A model of inputs in [0, 1]; it sees them within their own bounds.

    Args:
        model: takes inputs within the bounds.
        bounds: of the inputs.
    """

    def __init__(self, model: nn.Module, bounds: tuple[float, float]) -> None:
        super().__init__()
        self._model, (self._low, self._high) = model, bounds
        self._same = bounds == (0.0, 1.0)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits of inputs in the unit box."""
        result: Tensor = self._model(self.out_of(x))
        return result

    def out_of(self, x: Tensor) -> Tensor:
        """From the unit box to the bounds."""
        return x if self._same else (self._low + x * (self._high - self._low)).clamp(self._low, self._high)

    def into(self, x: Tensor) -> Tensor:
        """From the bounds to the unit box."""
        return x if self._same else ((x - self._low) / (self._high - self._low)).clamp(0.0, 1.0)

    def length(self, epsilon: float) -> float:
        """A length in the unit box."""
        return epsilon / (self._high - self._low)


class SpareClasses(nn.Module):
    """A model with at least four classes: what is missing is added, a logit below all others, without a gradient."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, q), q >= 4."""
        logits: Tensor = self._model(x)
        missing = FEWEST - logits.shape[1]
        if missing <= 0:
            return logits
        fixed = logits.detach()
        lowest = fixed.amin(dim=1, keepdim=True)
        spare = lowest - (fixed.amax(dim=1, keepdim=True) - lowest).clamp_min(1.0)
        return torch.cat([logits, spare.expand(len(logits), missing)], dim=1)

"""What gradient attacks ascend, on normalised logits; bound to the labels of one tile."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from robench.attacks.classifier import LogitLoss, margin


def ascended(name: str, label: Tensor) -> LogitLoss:
    """The loss of each row: cross-entropy, or the negative margin (no softmax, so it cannot saturate)."""
    if name == "margin":
        return lambda logits: -margin(logits, label)
    return lambda logits: F.cross_entropy(logits, label, reduction="none")

"""How the class of a model follows from its own outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Link:
    """How the class of a model follows from its own outputs, where that is not `class 1 iff f > 0` or `largest logit`.

    Fields:
        deployed: the model as it was given, link included.
        operations: names of what was taken off, the last one first; empty if nothing was.
        threshold: of one output: class 1 iff it is above.
        asked: whether the user gave the threshold.
    """

    deployed: nn.Module
    operations: tuple[str, ...]
    threshold: float | None
    asked: bool

    @property
    def note(self) -> str:
        """What a user should know."""
        names = ", ".join(f"`{name}`" for name in reversed(self.operations))
        taken = f"; robench certifies and attacks the logits before {names}" if self.operations else ""
        if self.threshold is None:
            return f"{names} at the end changes no class{taken}"
        why = "as asked" if self.asked else f"since {names or 'they'} gives probabilities"
        return f"class 1 where the output is above {self.threshold:.6g}, {why}{taken}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data: what decides the class."""
        return {"operations": list(self.operations), "threshold": self.threshold}


class Threshold(nn.Module):
    """One output less its threshold, so that class 1 is where it is above 0; turned round if `sign` is -1."""

    def __init__(self, threshold: float, sign: float) -> None:
        super().__init__()
        self.threshold, self.sign = threshold, sign

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1) to (N, 1)."""
        return (x - self.threshold) * self.sign

    def extra_repr(self) -> str:
        """For print."""
        return f"threshold={self.threshold}, sign={self.sign:g}"

"""How much work attacks cost, counted in passes of one image. No torch here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class PassCounter:
    """Counts forward and backward passes.

    Fields:
        forward: images passed forward, float64 verification included.
        backward: images passed backward.
        calls: calls of the model, each of one tile.
        padding: rows of those calls that held no image under attack.
    """

    forward: int = 0
    backward: int = 0
    calls: int = 0
    padding: int = 0

    def add(self, *, forward: int = 0, backward: int = 0, padding: int = 0) -> None:
        """Count one call of the model."""
        self.forward += forward
        self.backward += backward
        self.padding += padding
        self.calls += 1

    def to_dict(self) -> dict[str, int]:
        """Plain data, as in `summary.json`."""
        return {
            "forward": self.forward,
            "backward": self.backward,
            "calls": self.calls,
            "padding": self.padding,
        }

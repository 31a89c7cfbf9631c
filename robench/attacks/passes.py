"""How much work attacks cost, counted in passes of one image. No torch here."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from robench.statistics.budget import effort_name


@dataclass
class PassCounter:
    """Counts forward and backward passes.

    Fields:
        forward: images passed forward, float64 verification included.
        backward: images passed backward.
        calls: calls of the model, each of one tile.
        padding: rows of those calls that held no image under attack.
        by_attack: passes of single attacks, by their names in `effort.jsonl`.
        real: rows of a call, at most, that hold an image of its own; None for as many as are told.
        after_tile: told how many images an attack has just answered, right or not; None where nobody listens.
    """

    forward: int = 0
    backward: int = 0
    calls: int = 0
    padding: int = 0
    by_attack: Counter[str] = field(default_factory=Counter)
    real: int | None = None
    after_tile: Callable[[int], None] | None = None

    def add(self, *, forward: int = 0, backward: int = 0, padding: int = 0) -> None:
        """Count one call of the model.

        Args:
            forward: images in a forward pass.
            backward: images in a backward pass.
            padding: images that only fill a batch.
        """
        held = forward if self.real is None else min(forward, self.real)
        self.forward += held
        self.backward += backward if self.real is None else min(backward, self.real)
        self.padding += padding + forward - held
        self.calls += forward > 0

    @contextlib.contextmanager
    def at_most(self, real: int) -> Iterator[None]:
        """Within it, a batch has so many images, and further rows are copies of the first, whoever calls the model."""
        self.real = real
        try:
            yield
        finally:
            self.real = None
        if self.after_tile is not None:
            self.after_tile(real)

    @contextlib.contextmanager
    def charged_to(self, attack: str) -> Iterator[None]:
        """What is passed within it is of this attack."""
        forward, backward = self.forward, self.backward
        try:
            yield
        finally:
            self.by_attack[effort_name(attack, "forward")] += self.forward - forward
            self.by_attack[effort_name(attack, "backward")] += self.backward - backward

    def amounts(self) -> dict[str, int]:
        """All counts, those of single attacks too, as in `effort.jsonl`."""
        return {**self.to_dict(), **self.by_attack}

    def to_dict(self) -> dict[str, int]:
        """Plain data, as in `summary.json`."""
        return {
            "forward": self.forward,
            "backward": self.backward,
            "calls": self.calls,
            "padding": self.padding,
        }

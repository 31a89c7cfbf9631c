"""How long work reports its progress; the command line shows it, a library user may ignore it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A sink for the progress of one stage at a time."""

    def start(self, label: str, total: int) -> None:
        """A stage of `total` steps begins; the one before it, if any, is over."""

    def advance(self, steps: int = 1, **facts: str) -> None:
        """`steps` more are done; `facts` are short texts to show, such as the loss or what is open at each ε."""

    def note(self, text: str) -> None:
        """One line worth keeping on the screen."""

    def close(self) -> None:
        """All stages are over."""


class NoProgress:
    """Says nothing."""

    def start(self, label: str, total: int) -> None:
        """Say nothing."""

    def advance(self, steps: int = 1, **facts: str) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Say nothing."""

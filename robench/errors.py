"""What went wrong, why, and what the user can do about it.

Every error that a user can fix is a `RobenchError`. The command line prints its message and its hint, and exits with 2.
Anything else that escapes is a bug of robench and exits with 3.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable
from typing import Any


class RobenchError(Exception):
    """An error that the user can fix.

    Args:
        message: what is wrong and why, one sentence, with the offending name or value in it.
        hint: what to do about it.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """How it comes back from another process."""
        return functools.partial(type(self), hint=self.hint), (self.message,)


class SpecError(RobenchError):
    """A setting is unknown, of the wrong type or out of range."""


class DataError(RobenchError):
    """A data set is missing, truncated, wrongly shaped or mislabelled."""


class ModelError(RobenchError):
    """A model cannot be loaded, or does not fit the data it is asked about."""


class BoundError(RobenchError):
    """The Lipschitz constant of a model has no proven bound, so there is no certificate."""


class RunError(RobenchError):
    """A run folder cannot be written, resumed or read."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known spelling, whatever its capitals, and all of them."""
    known = sorted(known)
    by_letters = {text.casefold(): text for text in known}
    close = difflib.get_close_matches(name.casefold(), by_letters, n=1)
    guess = f"did you mean `{by_letters[close[0]]}`? " if close else ""
    return f"{guess}known: {', '.join(known)}"

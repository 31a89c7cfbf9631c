"""Counts of images by name (a rule, an attack) and ε, and the rates that follow from them: a summary's inner tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from robench.specs.epsilon import epsilon_value

Tally = Mapping[str, Mapping[str, int | None]]
"""A count by name and by ε as written; None where the count does not exist, which is not a count of 0."""

R = TypeVar("R")
N = TypeVar("N", bound=str)


def tally(
    records: Sequence[R], names: Iterable[N], eps: Sequence[str], holds: Callable[[R, N, float], bool]
) -> dict[str, dict[str, int]]:
    """How many records hold at each ε.

    Args:
        records: of some images, of none too.
        names: rules or attacks.
        eps: radii as written.
        holds: whether a record holds for a name at a radius, such as `AttackRecord.robust_to`.
    """
    values = {text: epsilon_value(text) for text in eps}
    return {
        name: {text: sum(holds(record, name, value) for record in records) for text, value in values.items()}
        for name in names
    }


def rates(counts: Tally, n: int) -> dict[str, dict[str, float | None]]:
    """Counts as shares of `n` images."""
    return {
        name: {text: None if count is None else count / n for text, count in row.items()}
        for name, row in counts.items()
    }

"""A table: numbers, and how each column of them is shown. Text is made of them here, in one last step.

What is in a cell is a number, a `Rate`, a `Broke`, an interval or a name; None is what does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import groupby
from typing import Any, Generic, NamedTuple, TypeVar

import pandas as pd

from robench.numerics import ABSENT, broke, lower, lower_percent, upper, upper_percent
from robench.statistics.intervals import Interval

T = TypeVar("T")


@dataclass(frozen=True)
class Rate:
    """A share of images, in percent. It knows the side from which it holds, so nothing can round it to the other.

    Fields:
        proven: it holds from below and is rounded down, as a certified rate; else up, as a rate under attack.
    """

    count: int
    n: int
    proven: bool

    def __str__(self) -> str:
        return (lower_percent if self.proven else upper_percent)(self.count, self.n)

    def __float__(self) -> float:
        return 100 * self.count / self.n


@dataclass(frozen=True)
class Broke:
    """What an attack of an ensemble broke of the images that it was given: no rate, since others chose these images."""

    count: int
    given: int

    def __str__(self) -> str:
        return broke(self.count, self.given)

    def __float__(self) -> float:
        return float("nan")


def shown(cell: Any, show: Callable[[Any], str] = str, unit: str = "") -> str:
    """A cell as text, with its unit; what does not exist has none.

    Args:
        cell: a value, or None.
        show: makes text of a value.
        unit: behind the text.
    """
    return ABSENT if cell is None else f"{show(cell)}{unit}"


@dataclass(frozen=True)
class Column(Generic[T]):
    """Where the cells of a column come from, and how they are shown.

    Fields:
        title: of the column, or of the group of neighbouring columns that it belongs to.
        cell: the cell in the row of an item.
        show: a cell as text, rounded to its side.
        leaf: what tells it from the others of its group; empty for a column by itself.
        numeric: whether it holds numbers, so that it is set flush right.
    """

    title: str
    cell: Callable[[T], Any]
    show: Callable[[Any], str] = str
    leaf: str = ""
    numeric: bool = True

    @property
    def name(self) -> str:
        """The title of a column by itself in a file."""
        return f"{self.title} {self.leaf}" if self.leaf else self.title


def names(title: str, cell: Callable[[T], Any], *, numbered: bool = False) -> Column[T]:
    """A column of text; set like numbers if the names are numbers.

    Args:
        title: of the column.
        cell: gives the text of a row.
        numbered: whether the names are numbers.
    """
    return Column(title, cell, numeric=numbered)


def below(title: str, cell: Callable[[T], Any], decimals: int = 4) -> Column[T]:
    """A column of numbers that hold from below, such as radii.

    Args:
        title: of the column.
        cell: gives the number of a row.
        decimals: shown.
    """
    return Column(title, cell, lambda value: lower(value, decimals))


def above(title: str, cell: Callable[[T], Any], decimals: int = 4) -> Column[T]:
    """A column of numbers that hold from above, such as distances and Lipschitz bounds.

    Args:
        title: of the column.
        cell: gives the number of a row.
        decimals: shown.
    """
    return Column(title, cell, lambda value: upper(value, decimals))


def intervals(title: str, cell: Callable[[T], Interval | None]) -> Column[T]:
    """A column of intervals of rates in percent, rounded outwards."""

    def show(interval: Interval) -> str:
        return f"{lower(100 * float(interval.low), 1)} to {upper(100 * float(interval.high), 1)}"

    return Column(title, cell, show)


def by_eps(title: str, eps: Iterable[str], cell: Callable[[T, str], Any]) -> list[Column[T]]:
    """A group of columns, one for each radius.

    Args:
        title: of the group.
        eps: radii as written.
        cell: gives the value of a row at a radius.
    """

    def at(text: str) -> Callable[[T], Any]:
        return lambda item: cell(item, text)

    return [Column(f"{title} ε =", at(text), leaf=text) for text in eps]


class Heading(NamedTuple):
    """A group of neighbouring columns under one title; a column by itself has no leaves."""

    title: str
    leaves: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Table:
    """Columns, and one row of cells for each item."""

    columns: tuple[Column[Any], ...]
    cells: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, items: Iterable[T], columns: Iterable[Column[T]]) -> Table:
        """The cells of some items."""
        columns = tuple(columns)
        return cls(columns, tuple(tuple(column.cell(item) for column in columns) for item in items))

    @property
    def frame(self) -> pd.DataFrame:
        """Numbers for further computation: rates in percent, not rounded; missing where there is none."""
        columns = [_series([row[place] for row in self.cells]) for place in range(len(self.columns))]
        frame = pd.concat(columns, axis=1)
        frame.columns = pd.Index([column.name for column in self.columns])
        return frame

    @property
    def text(self) -> pd.DataFrame:
        """What a reader sees."""
        return pd.DataFrame(self.strings, columns=[column.name for column in self.columns])

    @cached_property
    def strings(self) -> list[list[str]]:
        """The cells as text, row by row."""
        return [
            [shown(cell, column.show) for cell, column in zip(row, self.columns, strict=True)] for row in self.cells
        ]

    @property
    def headings(self) -> list[Heading]:
        """The titles, those of a group once."""
        result = []
        for (title, grouped), members in groupby(self.columns, key=lambda column: (column.title, bool(column.leaf))):
            leaves = tuple(column.leaf for column in members)
            result += [Heading(title, leaves)] if grouped else [Heading(title, ())] * len(leaves)
        return result

    @cached_property
    def flush_right(self) -> list[bool]:
        """Which columns are: those of numbers, and those in which nothing exists."""
        return [
            column.numeric or all(cell is None for cell in cells)
            for column, *cells in zip(self.columns, *self.cells, strict=True)
        ]

    @cached_property
    def repeats(self) -> list[int]:
        """For each row, how many rows from it on share its first cell; 0 where the row before shares it already."""
        lengths: list[int] = []
        for _, members in groupby(row[0] for row in self.strings):
            length = sum(1 for _ in members)
            lengths += [length, *[0] * (length - 1)]
        return lengths


def _series(cells: Sequence[Any]) -> pd.Series[Any]:
    """The cells of a column as numbers, or as text."""
    values = [_number(cell) for cell in cells]
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int}:
        return pd.Series(values, dtype="Int64")
    if kinds <= {int, float}:
        return pd.Series(values, dtype="float64")
    return pd.Series(values, dtype="string" if kinds == {str} else None)


def _number(cell: Any) -> Any:
    if isinstance(cell, Rate | Broke | Fraction):
        return float(cell)
    if isinstance(cell, Interval):
        return pd.Interval(100 * float(cell.low), 100 * float(cell.high), closed="both")
    return cell

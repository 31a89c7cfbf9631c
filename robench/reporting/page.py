"""What stands in a report, in order, whatever the format: notices, sections, exhibits (tables and figures)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from robench.reporting.strips import Strip
from robench.reporting.tables.table import Rate, Table


@dataclass(frozen=True, eq=False)
class TableExhibit:
    """A table with its caption.

    Fields:
        name: file name without suffix.
        note: what a reader must know to read it right; may be empty.
    """

    name: str
    caption: str
    table: Table
    note: str = ""


@dataclass(frozen=True, eq=False)
class FigureExhibit:
    """A figure with its caption, and its content in words for who does not see it.

    Fields:
        alt: two sentences at most; the numbers stand in a table beside it.
        figure: as it stands in files; None for what the page alone draws.
        chart: the same as numbers, from which the page draws it anew; None for what stays a picture.
        strip: the same as images, which the page shows one by one; None for all but galleries of images.
    """

    name: str
    caption: str
    alt: str
    figure: Figure | None
    chart: Mapping[str, Any] | None = None
    strip: Strip | None = None


Exhibit = TableExhibit | FigureExhibit


def _place(rate: Rate | None) -> float:
    return 0.0 if rate is None else float(str(rate))


@dataclass(frozen=True)
class Contender:
    """A row of the first table of the page beside its numbers.

    Fields:
        key: what the model is called in the address of a state of the page.
        anchor: of its section.
        badge: `best`, `tie` (for the best), `contradicted` or nothing.
        low, high: certified and attacked accuracy on the attacked images.
    """

    key: str
    name: str
    anchor: str
    badge: str
    low: Rate | None
    high: Rate | None

    @property
    def left(self) -> float:
        """Length of the proven part of the bar, 0..100, where the text says."""
        return _place(self.low)

    @property
    def width(self) -> float:
        """Length of the open part."""
        return max(0.0, round(_place(self.high or self.low) - self.left, 2))


class Question(NamedTuple):
    """What a reader asks first, and the answer in a sentence or two."""

    asked: str
    answer: str


@dataclass(frozen=True, eq=False)
class Answer:
    """What the page says first of the models on one data set.

    Fields:
        where: data set and ε.
        advice: the reason for the headline.
        limits: what the advice does not say.
        sound: whether no certificate is contradicted.
        contenders: one for each row of the table.
    """

    anchor: str
    where: str
    headline: str
    advice: str
    limits: str
    sound: bool
    questions: tuple[Question, ...]
    contenders: tuple[Contender, ...]
    table: TableExhibit


@dataclass(frozen=True, eq=False)
class Section:
    """A titled part of the page, folded below its heading.

    Fields:
        finding: what it shows, in a few words; it stands in the heading.
        facts: name and value pairs that stand under the heading.
        key: of the model that it is about; empty otherwise.
        parts: smaller sections inside.
        open: whether it is unfolded at first.
    """

    title: str
    anchor: str
    facts: tuple[tuple[str, str], ...]
    exhibits: tuple[Exhibit, ...]
    finding: str = ""
    key: str = ""
    parts: tuple[Section, ...] = ()
    open: bool = False

    @property
    def all_exhibits(self) -> tuple[Exhibit, ...]:
        """Its exhibits and those of its parts, in order."""
        return (*self.exhibits, *(exhibit for part in self.parts for exhibit in part.all_exhibits))


@dataclass(frozen=True, eq=False)
class Page:
    """A whole report.

    Fields:
        verdict: one sentence on contradictions.
        sound: whether there is no contradiction.
        answers: one a data set.
        keys: by the name of a model, what it is called in the address of a state of the page.
    """

    title: str
    lead: str
    verdict: str
    sound: bool
    notices: tuple[str, ...]
    answers: tuple[Answer, ...]
    sections: tuple[Section, ...]
    keys: Mapping[str, str]

    @property
    def strips(self) -> dict[str, Strip]:
        """The images of each model that has some, by its key."""
        return strips_of(self.sections)

    @property
    def exhibits(self) -> tuple[Exhibit, ...]:
        """All tables and figures in order."""
        return (
            *(answer.table for answer in self.answers),
            *(exhibit for section in self.sections for exhibit in section.all_exhibits),
        )


def strips_of(sections: Sequence[Section]) -> dict[str, Strip]:
    """The images of each model that has some, by its key."""
    return {
        part.key: exhibit.strip
        for section in sections
        for part in section.parts
        for exhibit in part.exhibits
        if isinstance(exhibit, FigureExhibit) and exhibit.strip is not None
    }

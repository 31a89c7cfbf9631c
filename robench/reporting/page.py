"""What stands in a report, in order, whatever the format: notices, sections, exhibits (tables and figures)."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

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
    """A figure with its caption, and its content in words for who does not see it."""

    name: str
    caption: str
    alt: str
    figure: Figure


Exhibit = TableExhibit | FigureExhibit


@dataclass(frozen=True)
class Bracket:
    """What is known of the accuracy under any attack at one ε: it lies between proof and attack.

    Fields:
        eps: as written.
        certified: None if there is no certificate.
        attacked: None if there was no attack at this ε.
    """

    eps: str
    certified: Rate | None
    attacked: Rate | None

    @property
    def low(self) -> float:
        """Left end of the bar, 0..100, where the text says."""
        return _place(self.certified)

    @property
    def width(self) -> float:
        """Length of the bar between both ends."""
        return max(0.0, round(_place(self.attacked or self.certified) - self.low, 2))


def _place(rate: Rate | None) -> float:
    return 0.0 if rate is None else float(str(rate))


@dataclass(frozen=True)
class Overview:
    """One model at a glance: a row of the first table of the page.

    Fields:
        clean, base: clean accuracy and base rate in percent, on the images of the brackets.
    """

    name: str
    anchor: str
    clean: Rate | None
    base: Rate | None
    brackets: tuple[Bracket, ...]


@dataclass(frozen=True, eq=False)
class Section:
    """A titled part of the page.

    Fields:
        facts: name and value pairs that stand under the title.
    """

    title: str
    anchor: str
    facts: tuple[tuple[str, str], ...]
    exhibits: tuple[Exhibit, ...]


@dataclass(frozen=True, eq=False)
class Page:
    """A whole report.

    Fields:
        verdict: one sentence on contradictions.
        sound: whether there is no contradiction.
        overviews: models at a glance, by data set.
    """

    title: str
    lead: str
    verdict: str
    sound: bool
    notices: tuple[str, ...]
    overviews: tuple[tuple[str, tuple[Overview, ...]], ...]
    comparisons: tuple[Section, ...]
    models: tuple[Section, ...]
    closing: tuple[Section, ...]

    @property
    def sections(self) -> tuple[Section, ...]:
        """All sections in order."""
        return (*self.comparisons, *self.models, *self.closing)

    @property
    def exhibits(self) -> tuple[Exhibit, ...]:
        """All tables and figures in order."""
        return tuple(exhibit for section in self.sections for exhibit in section.exhibits)

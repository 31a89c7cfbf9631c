"""What the user sees: results on stdout, everything else on stderr, bars on a terminal only."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.progress import TaskID


def print_json(data: Mapping[str, Any]) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(data, indent=2, allow_nan=False))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout under its title; the first column is left-aligned, the others right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for number, column in enumerate(columns):
        table.add_column(Text(column), justify="left" if number == 0 else "right", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    width = None if sys.stdout.isatty() else 160
    console = Console(file=sys.stdout, width=width, highlight=False)
    console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(table)


class Screen:
    """Progress on stderr: bars on a terminal, else a line where a stage begins (see `robench.progress.Progress`).

    Args:
        quiet: say nothing at all.
    """

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._live = self._console.is_terminal and not quiet
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[facts]}"),
            console=self._console,
            transient=True,
            disable=not self._live,
        )
        self._task: TaskID | None = None

    def start(self, label: str, total: int) -> None:
        """Begin a stage; the one before it is over."""
        if self._live:
            self._finish_stage()
            self._bar.start()
            self._task = self._bar.add_task(label, total=total, facts="")
        elif not self._quiet:
            click.echo(label, err=True)

    def advance(self, steps: int = 1, **facts: str) -> None:
        """Move the bar and show the facts beside it."""
        if self._task is not None:
            text = "  ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())
            self._bar.update(self._task, advance=steps, facts=text)

    def note(self, text: str) -> None:
        """One line that stays on the screen."""
        if not self._quiet:
            self._console.print(text, markup=False)

    def close(self) -> None:
        """Take the bar away."""
        self._finish_stage()
        self._bar.stop()

    def _finish_stage(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None

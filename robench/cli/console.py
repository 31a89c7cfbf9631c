"""What the user sees: results on stdout; notes, bars and prints of the user's own code on stderr."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

import click

from robench.cli import config

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.table import Table


class Command(click.Command):
    """A command whose results alone go to stdout, whatever the user's own code prints, and which reads `--config`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(config.option())

    def invoke(self, ctx: click.Context) -> Any:
        """Run it with stdout turned to stderr for everything but the results; say what was set elsewhere."""
        for line in [] if ctx.params.get("quiet") else config.said(ctx):
            click.echo(line, err=True)
        with _results_apart():
            return super().invoke(ctx)


_results: list[IO[str] | None] = []
"""Where results go; the innermost command last."""


@contextlib.contextmanager
def _results_apart() -> Iterator[None]:
    _results.append(sys.stdout)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _results.pop()


def claim_stdout() -> None:
    """Keep the process's stdout for results: what C code and child processes write there goes to stderr from now on."""
    if sys.stderr is None:  # closed by the shell: what would be said there is said to nobody
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a locale that has no ε, a file name that is no text
            stream.reconfigure(errors="backslashreplace")
    try:
        if sys.stdout is None or sys.stdout.fileno() != 1:
            return
        sys.stdout.flush()
        own = os.dup(1)
        os.dup2(2, 1)
    except (OSError, ValueError):  # closed, or no descriptor: there is nothing to be kept apart
        return
    sys.stdout = open(own, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)  # noqa: PTH123, SIM115


def _target() -> IO[str] | None:
    return _results[-1] if _results else sys.stdout


def print_line(text: object) -> None:
    """One line on stdout; what comes after its reader is gone goes nowhere, and changes no exit code."""
    target = _target()
    if target is None:  # closed by the shell
        return
    try:
        click.echo(str(text), file=target)
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # what is left in its buffer goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), target.fileno())


def print_entry(text: str) -> None:
    """One line of a list on stdout; where a terminal is narrower, its further lines are indented."""
    target = _target()
    if target is not None and target.isatty():
        width = shutil.get_terminal_size().columns
        text = textwrap.fill(text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    print_line(text)


def print_json(data: Mapping[str, Any]) -> None:
    """One JSON document on stdout."""
    print_line(json.dumps(data, indent=2, allow_nan=False))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout under its title; the first column is left-aligned, the others right.

    Where it is wider than the terminal, headings are set word below word. Columns that still do not fit follow in a
    table below, beside the first column.

    Args:
        title: above the table.
        columns: headings.
        rows: cells.
    """
    from rich.console import Console
    from rich.text import Text

    target = _target()
    on_terminal = target is not None and target.isatty()
    console = Console(file=target, width=None if on_terminal else PIPE_WIDTH, highlight=False)
    if _table_width(columns, rows) > console.width:
        columns = [re.sub(" (?!=)", "\n", column) for column in columns]
    with console.capture() as drawn:
        console.print(Text(title, style="bold"), soft_wrap=not on_terminal)
        for chosen in _fitting(columns, rows, console.width):
            console.print(_table([columns[k] for k in chosen], [[row[k] for k in chosen] for row in rows]))
    print_line(drawn.get().removesuffix("\n"))


PIPE_WIDTH = 160
"""Of tables in a file or a pipe, which have no width of their own."""
BORDER = 3
"""What a column takes beside its text; the table takes one more."""


def _width(column: str, cells: Sequence[str]) -> int:
    return max(len(line) for text in (column, *cells) for line in text.split("\n")) + BORDER


def _table_width(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    return 1 + sum(_width(column, [row[k] for row in rows]) for k, column in enumerate(columns))


def _fitting(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[list[int]]:
    """The places of the columns of each table, the first column in all of them."""
    widths = [_width(column, [row[k] for row in rows]) for k, column in enumerate(columns)]
    parts = [[0]]
    for place in range(1, len(columns)):
        if len(parts[-1]) > 1 and 1 + sum(widths[k] for k in parts[-1]) + widths[place] > width:
            parts.append([0])
        parts[-1].append(place)
    return parts


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for number, column in enumerate(columns):
        table.add_column(Text(column), justify="left" if number == 0 else "right", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def print_reason(text: str) -> None:
    """One line on stderr that says why the exit code is 1: part of the result, so `--quiet` keeps it."""
    click.echo(text, err=True)


class Screen:
    """Progress on stderr: bars on a terminal, else a line where a stage begins (see `robench.progress.Progress`).

    The facts of a stage stand below its bar, so that both fit 80 columns. The bar is taken away when the command ends,
    however it ends.

    Args:
        quiet: no progress and no notes; only what explains the exit code is said.
    """

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console

        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._live = self._console.is_terminal and not quiet
        self._bar = _bar(self._console, visible=self._live)
        self._task: TaskID | None = None
        self._noted: set[str] = set()
        context = click.get_current_context(silent=True)
        if context is not None:
            context.call_on_close(self.close)

    def start(self, label: str, total: int) -> None:
        """Begin a stage; the one before it is over."""
        if self._live:
            self._finish_stage()
            self._bar.start()
            self._task = self._bar.add_task(label, total=total, facts="")
        elif not self._quiet:
            click.echo(label, err=True)

    def advance(self, steps: int = 1, **facts: str) -> None:
        """Move the bar and show the facts below it; without facts those before stay."""
        if self._task is not None:
            self._bar.update(self._task, advance=steps)
            if facts:
                text = "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())
                self._bar.update(self._task, facts=text)

    def note(self, text: str) -> None:
        """One line that stays on the screen; said once, though data may be read several times."""
        if not self._quiet and text not in self._noted:
            self._noted.add(text)
            self._console.print(text, markup=False)

    def close(self) -> None:
        """Take the bar away."""
        self._finish_stage()
        self._bar.stop()

    def _finish_stage(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None


def _bar(console: Console, *, visible: bool) -> Progress:
    """A bar on one line and the facts of its stage on the next, cut where the screen ends."""
    from rich.console import RenderableType
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column
    from rich.text import Text

    class WithFacts(Progress):
        def get_renderables(self) -> Iterator[RenderableType]:
            yield from super().get_renderables()
            for task in self.tasks:
                if task.fields["facts"]:
                    yield Text(f"  {task.fields['facts']}", no_wrap=True, overflow="ellipsis")

    return WithFacts(
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", max_width=36)),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("left"),
        console=console,
        transient=True,
        disable=not visible,
    )

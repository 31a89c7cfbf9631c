"""What the user sees: results on stdout; notes, bars and prints of the user's own code on stderr."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.progress import TaskID


class Command(click.Command):
    """A command whose results alone go to stdout, whatever the user's own code prints meanwhile."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it with stdout turned to stderr for everything but the results."""
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


def print_json(data: Mapping[str, Any]) -> None:
    """One JSON document on stdout."""
    print_line(json.dumps(data, indent=2, allow_nan=False))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout under its title; the first column is left-aligned, the others right.

    Args:
        title: above the table.
        columns: headings.
        rows: cells.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for number, column in enumerate(columns):
        table.add_column(Text(column), justify="left" if number == 0 else "right", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    target = _target()
    width = None if target is not None and target.isatty() else 160
    console = Console(file=target, width=width, highlight=False)
    with console.capture() as drawn:
        console.print(Text(title, style="bold"), soft_wrap=True)
        console.print(table)
    print_line(drawn.get().removesuffix("\n"))


def print_reason(text: str) -> None:
    """One line on stderr that says why the exit code is 1: part of the result, so `--quiet` keeps it."""
    click.echo(text, err=True)


class Screen:
    """Progress on stderr: bars on a terminal, else a line where a stage begins (see `robench.progress.Progress`).

    Args:
        quiet: no progress and no notes; only what explains the exit code is said.
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
        self._noted: set[str] = set()

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

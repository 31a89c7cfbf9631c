"""`robench report`."""

from __future__ import annotations

from pathlib import Path

import click

from robench.cli import options
from robench.cli.console import Command, Screen, print_line


@click.command(cls=Command, short_help="Write curves, tables and one HTML page")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@options.out(required=True, help_text="Folder for the report.")
@options.screen
def report(*, runs: tuple[Path, ...], out: Path, screen: Screen) -> None:
    """Write curves, tables and one self-contained HTML page over run folders.

    \b
    RUN is a run folder of `certify` or `attack`, or a folder that holds some.

    \b
    Examples:
      robench report runs --out report
      robench report runs/certify-hkr runs/attack-hkr --out report

    The report depends on the run folders alone: the same runs give the same bytes.
    """
    from robench import workflows

    print_line(workflows.report(runs, out))

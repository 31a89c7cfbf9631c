"""`robench claims`."""

from __future__ import annotations

from pathlib import Path

import click

from robench.cli import options
from robench.cli.console import Command, Screen, print_json, print_line


@click.command(cls=Command, short_help="Hold the claims of the paper against run folders")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE.md",
    help="The page; a CSV of the same name is written beside it.",
)
@options.as_json
@options.screen
def claims(*, runs: tuple[Path, ...], out: Path, json_output: bool, screen: Screen) -> None:
    """Hold the claims of the paper against run folders: each with a figure, an interval and a verdict.

    \b
    RUN is a folder of `certify`, `attack` or `potential`, or one that holds some, such as the --out folder of `bench`.
    A CSV that an earlier `robench claims` wrote stands for its runs.

    \b
    Examples:
      robench claims mnist-bench faces-bench --out claims.md
      robench claims runs --out claims.md --json
      robench claims mnist-bench/claims.csv faces-bench/claims.csv --out claims.md

    A claim holds, holds partly, does not hold, or is not measured: by rules that the page states. The page depends on
    what is named alone. It compares models that `robench train` or `robench bench` has trained.
    """
    from robench import workflows
    from robench.cli.results import claims_result

    found = workflows.claims(runs, out)
    if json_output:
        print_json(found)
    else:
        claims_result(found["claims"])
        print_line(f"page: {found['page']}")

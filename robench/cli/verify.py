"""`robench verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robench.cli import options


@click.command(short_help="Re-execute a run's certificates and witnesses with other code")
@click.argument("run", type=click.Path(path_type=Path))
@options.as_json
@options.quiet
def verify(run: Path, json_output: bool, quiet: bool) -> int:
    """Re-execute every certificate and witness of a run in numpy float64, with code that shares nothing.

    \b
    Example:
      robench verify runs/attack-hkr-mnist-1a2b3c4d
    """
    from robench import api
    from robench.cli.console import print_json, print_table
    from robench.cli.main import FINDING

    summary: dict[str, Any] = api.verify(run)
    if json_output:
        print_json(summary)
    else:
        print_table(f"verified {run}", ["checked", "count"], [[k, str(v)] for k, v in summary.items()])
    return FINDING if summary["failed"] else 0

"""`robench verify`."""

from __future__ import annotations

from pathlib import Path

import click

from robench.cli import options
from robench.cli.console import Command, Screen, print_json, print_reason, print_table


@click.command(cls=Command, short_help="Re-execute a run's certificates and adversarials with other code")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--model",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Model folder.  [default: where the run found it]",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that holds the data set's own files.  [default: where the run found them]",
)
@options.as_json
@options.screen
def verify(*, run: Path, model: Path | None, data_dir: Path | None, json_output: bool, screen: Screen) -> int:
    """Re-execute every certificate and adversarial of a run in numpy float64, with code that shares nothing.

    \b
    Example:
      robench verify runs/attack-hkr-mnist-1a2b3c4d

    Exit code 1 if anything does not hold: a class that differs, a distance that is too small, a radius that a slope
    found contradicts, an adversarial within a certified radius. Runs on other models than
    robench's own model folders are refused.
    """
    from robench import workflows
    from robench.cli.main import FINDING

    summary = workflows.verify(run, model=model, data_dir=data_dir)
    if json_output:
        print_json(summary)
    else:
        counts = [[name, str(summary[name])] for name in ("n", "certificates", "adversarials", "failed")]
        print_table(f"verified {run}", ["what", "count"], counts)
        for problem in summary["problems"]:
            print_reason(f"FAILED: {problem}")
    return FINDING if summary["failed"] else 0

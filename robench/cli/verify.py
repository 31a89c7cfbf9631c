"""`robench verify`."""

from __future__ import annotations

from pathlib import Path

import click

from robench.cli import completion, options
from robench.cli.console import Command, Screen, print_json, print_reason, print_table


@click.command(cls=Command, short_help="Check a run's certificates and adversarial examples with other code")
@click.argument("run", type=click.Path(path_type=Path), shell_complete=completion.runs)
@click.option(
    "--model",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Model folder.  [default: where the run found it]",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder with the files of the data set.  [default: where the run found them]",
)
@options.as_json
@options.screen
def verify(*, run: Path, model: Path | None, data_dir: Path | None, json_output: bool, screen: Screen) -> int:
    """Check every certificate and adversarial example of a run, with code that shares nothing with the run.

    \b
    Example:
      robench verify runs/attack-hkr-mnist-1a2b3c4d

    The check computes in numpy float64. Exit code 1 means that something does not hold: a class differs, a distance is
    too small, a slope contradicts a radius, or an adversarial example lies within a certified radius. The check needs
    a run on one of robench's model folders.
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

"""`robench bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from robench.cli import options
from robench.cli.console import Command, print_json, print_line, print_reason

if TYPE_CHECKING:
    from robench.workflows import Execution


@click.command(cls=Command, short_help="Train, certify, attack and report in one go")
@click.argument("suite", default="embedded", metavar="[SUITE]")
@options.data_dir
@options.out(required=False, help_text="Folder for models, runs and the report.  [default: runs/bench-SUITE]")
@options.as_json
@options.execution
def bench(*, suite: str, data_dir: Path | None, out: Path | None, json_output: bool, execution: Execution) -> int:
    """Train, certify, attack and report in one go.

    \b
    SUITE is `embedded` (two-moons and digits, all recipes, no download) or `mnist` (the paper's five approaches).

    \b
    Examples:
      robench bench
      robench bench mnist --data-dir ~/data/mnist --out mnist-bench

    The same command resumes a benchmark that was stopped. At the end it prints the comparison table and the path of
    the report.
    """
    from robench import workflows
    from robench.cli.main import FINDING
    from robench.cli.results import bench_result

    summary = workflows.bench(suite, out=out, data_dir=data_dir, execution=execution).summary
    for row in summary["models"]:
        for flag in row["flags"]:
            execution.progress.note(f"flag {flag['name']} of {row['model']} on {row['data']}: {flag['message']}")
        if row["violations"]:
            print_reason(f"CONTRADICTION: {row['violations']} images of {row['model']} on {row['data']}")
    if json_output:
        print_json(summary)
    else:
        bench_result(summary["models"])
        print_line(f"report: {summary['report']}")
    return FINDING if summary["violations"] else 0

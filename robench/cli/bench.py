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
    from robench.cli.main import FINDING
    from robench.cli.results import bench_result
    from robench.records.record import SCHEMA_VERSION
    from robench.workflows.bench import run_suite, suite_named

    chosen = suite_named(suite)
    folder = out or Path("runs") / f"bench-{chosen.name}"
    result = run_suite(chosen, folder, data_dir=data_dir, execution=execution)
    for row in result.rows:
        for flag in row["flags"]:
            execution.progress.note(f"flag {flag['name']} of {row['model']} on {row['data']}: {flag['message']}")
        if row["violations"]:
            print_reason(f"CONTRADICTION: {row['violations']} images of {row['model']} on {row['data']}")
    if json_output:
        print_json(
            {
                "schema_version": SCHEMA_VERSION,
                "command": "bench",
                "models": result.rows,
                "violations": result.violations,
                "report": str(result.page),
            }
        )
    else:
        bench_result(result.rows)
        print_line(f"report: {result.page}")
    return FINDING if result.violations else 0

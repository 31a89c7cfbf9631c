"""`robench merge`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from robench.cli import completion, options
from robench.cli.console import Command, print_json

if TYPE_CHECKING:
    from robench.workflows import Execution


@click.command(cls=Command, short_help="Join the shards of a run")
@click.argument(
    "shards",
    metavar="SHARD...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    shell_complete=completion.runs,
)
@options.out(required=True, help_text="Folder of the whole run.")
@click.option(
    "--model", metavar="MODEL", shell_complete=completion.models, help="Model.  [default: where it was found]"
)
@options.data_dir
@options.as_json
@options.execution
def merge(
    *,
    shards: tuple[Path, ...],
    out: Path,
    model: str | None,
    data_dir: Path | None,
    json_output: bool,
    execution: Execution,
) -> int:
    """Join the shards of a run into the run that one machine would have written.

    \b
    Examples:
      robench attack hkr --data mnist --eps 1 --shard 1/2 --out parts   on one machine
      robench attack hkr --data mnist --eps 1 --shard 2/2 --out parts   on another one
      robench merge parts --out run

    SHARD is the folder of a shard, or a folder that holds some. They must be all shards of one run, finished, each
    once, of the same model, data and spec, and computed by processors, threads and packages of one kind. The records
    are then those of one machine, byte for byte.
    """
    from robench import workflows
    from robench.cli.main import FINDING
    from robench.cli.results import attack_result, certify_result, show_flags, smoothed_result

    outcome = workflows.merge(shards, out, model=model, data_dir=data_dir, execution=execution)
    summary = outcome.summary
    show = {"attack": attack_result, "certify": certify_result}.get(summary["command"], smoothed_result)
    print_json(outcome.document) if json_output else show(summary)
    execution.progress.note(f"run folder: {outcome.folder}")
    show_flags(summary["flags"], execution.progress.note)
    return FINDING if summary.get("violations") else 0

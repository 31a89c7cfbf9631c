"""`robench slurm`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from robench.cli import options
from robench.cli.console import Command, print_json, print_line

if TYPE_CHECKING:
    from robench.engines.slurm import Array

COMMANDS = ("certify", "attack")


@click.command(
    cls=Command,
    short_help="Do certify or attack as an array job of SLURM",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("command", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--array", "tasks", type=click.IntRange(1), required=True, metavar="N", help="Number of tasks.")
@click.option(
    "--sbatch", "extra", multiple=True, metavar="OPTION", help="Option of sbatch, such as `--time=1:00:00`. Repeatable."
)
@click.option("--submit", is_flag=True, help="Hand it to sbatch at once.")
@click.option(
    "--merge-into",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="RUN",
    help="With --submit: a job that joins the shards into this run folder when all tasks are done.",
)
@options.as_json
def slurm(
    *,
    command: tuple[str, ...],
    tasks: int,
    extra: tuple[str, ...],
    submit: bool,
    merge_into: Path | None,
    json_output: bool,
) -> int:
    """Do certify or attack as an array job of SLURM, one shard a task.

    \b
    Examples:
      robench slurm attack hkr --data mnist --eps 1 --out parts --array 32 > job.sh
      robench slurm attack hkr --data mnist --eps 1 --out parts --array 32 --submit --merge-into run
      robench slurm certify hkr --data mnist --out parts --array 8 --sbatch=--time=1:00:00 --sbatch=--partition=cpu

    COMMAND is `certify` or `attack` with its options. It is checked here, and `--out` is needed: the shards and what
    the tasks print go there. A task gets one CPU, or as many as `--threads`. The same job, submitted again, goes on
    where it stopped. `robench merge` joins the shards.
    """
    from robench.engines.slurm import merging_script
    from robench.engines.slurm import submit as hand_over

    array = _array(command, tasks, extra)
    if merge_into is not None and not submit:
        raise click.UsageError("--merge-into is for --submit")
    job = merge = None
    if submit:
        array.out.mkdir(parents=True, exist_ok=True)  # where the tasks print
        job = hand_over(array.script())
        merge = None if merge_into is None else hand_over(merging_script(array.out, merge_into), after=job)
    if json_output:
        from robench.workflows import heading

        text = {"script": array.script(), "folder": str(array.out), "tasks": tasks, "job": job, "merge_job": merge}
        print_json({**heading("slurm"), **text})
        return 0
    if not submit:
        print_line(array.script().rstrip("\n"))
    for name, number in (("job", job), ("merge job", merge)):
        if number is not None:
            print_line(f"{name}: {number}")
    if merge is None:
        click.echo(f"next: when all tasks are done, robench merge {array.out} --out RUN", err=True)
    return 0


def _array(words: tuple[str, ...], tasks: int, extra: tuple[str, ...]) -> Array:
    """The job; the command is parsed as each task will, so that it is refused here.

    Raises:
        click.UsageError: it is none that works in shards, or lacks `--out`.
    """
    from robench.cli.main import robench
    from robench.engines.slurm import Array

    name, *given = words
    if name not in COMMANDS:
        raise click.UsageError(f"`{name}` does not work in shards; {' and '.join(COMMANDS)} do")
    command = robench.get_command(click.Context(robench), name)
    assert command is not None
    params = command.make_context(name, list(given)).params
    if params["shard"] is not None:
        raise click.UsageError("--shard is set by the array")
    if params["out"] is None:
        raise click.UsageError("--out is needed: the tasks write their shards there")
    if params["dry_run"]:
        raise click.UsageError("--dry-run is not for an array")
    return Array(command=words, tasks=tasks, threads=params["threads"] or 1, out=params["out"], options=extra)

"""`robench bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from robench.cli import completion, options
from robench.cli.console import Command, print_json, print_line, print_reason, print_table
from robench.specs.suite import FULL_SIZE, Suite, read_suite

if TYPE_CHECKING:
    from robench.workflows import Execution


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """`0,1,2` as integers from 0 up, each once."""
    if value is None:
        return None
    parts = value.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise click.BadParameter(f"`{value}` is no list of seeds such as 0,1,2", ctx, param)
    return tuple(dict.fromkeys(int(part) for part in parts))


def _words(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Comma lists, joined."""
    return tuple(part.strip() for text in value for part in text.split(",") if part.strip())


@click.command(cls=Command, short_help="Train, certify, attack and report in one go")
@click.argument("suite", default="embedded", metavar="[SUITE]", shell_complete=completion.suites)
@click.option("--full-size", is_flag=True, help="The suite with the paper's own sizes: cifar10, faces. For a GPU.")
@options.data_dir
@click.option("--data", metavar="NAME", help="Data set of a suite that has none of its own, such as npz:PATH.")
@click.option("--seeds", callback=_numbers, metavar="N,...", help="Seeds of the trainings.  [default: the suite's]")
@click.option("--only", multiple=True, callback=_words, metavar="LABEL,...", help="Only these models of the suite.")
@click.option("--epochs", type=click.IntRange(1), help="Epochs of every training.  [default: the suite's]")
@click.option(
    "--limit-attacks", type=click.IntRange(1), metavar="N", help="Attack N images at most.  [default: the suite's]"
)
@click.option(
    "--until",
    type=click.Choice(["train", "certify", "attack", "report"]),
    default="report",
    show_default=True,
    help="Last stage. The same command without it goes on from there, here or on another machine.",
)
@options.out(required=False, help_text="Folder for models, runs and the report.  [default: runs/bench-SUITE]")
@options.dry_run
@options.as_json
@options.engines
def bench(
    *,
    suite: str,
    full_size: bool,
    data_dir: Path | None,
    data: str | None,
    seeds: tuple[int, ...] | None,
    only: tuple[str, ...],
    epochs: int | None,
    limit_attacks: int | None,
    until: Literal["train", "certify", "attack", "report"],
    out: Path | None,
    dry_run: bool,
    json_output: bool,
    execution: Execution,
) -> int:
    """Train, certify, attack and report in one go.

    \b
    SUITE:
      embedded   two-moons and digits, all recipes; minutes, no download
      two-moons  Fig. 1 and 2 and Theorem 2 of the paper
      mnist      its five approaches, dense and convolutional
      cifar10    the same with a small network; --full-size has the paper's
      faces      two unequal classes of faces, with --data; --full-size is CelebA
      FILE.json  a suite of your own, as those in robench/specs/suites

    \b
    Examples:
      robench bench
      robench bench mnist --data-dir ~/data/mnist --out mnist-bench --seeds 0,1,2
      robench bench mnist --only hkr-dense,adv-dense --limit-attacks 100
      robench bench faces --data npz:smiles64.npz --data-dir ~/data/faces
      robench bench cifar10 --full-size --device cuda --until train
      robench bench mnist --workers 8

    With workers, each training, certify run and attack is one task; on a Ray cluster all nodes must see the folder.
    The same command resumes a benchmark that was stopped. At the end it prints the comparison table, and the paths of
    the report of the first seed and of the claims of the paper, held against all seeds.
    """
    from robench import workflows
    from robench.cli.main import FINDING
    from robench.cli.results import bench_result, training_result

    name = f"{suite}-{FULL_SIZE}" if full_size else suite
    if dry_run:
        part = _part(name, data, only, epochs, limit_attacks)
        place = out or Path("runs") / f"bench-{Path(name).stem}"
        plan = workflows.foresee_bench(part, out=place, data_dir=data_dir, seeds=seeds, execution=execution)
        if json_output:
            print_json(plan)
        else:
            columns = ("model", "data", "seed", "n", "n_done", "n_left", "n_attacked")
            headings = ["model", "data", "seed", "training images", "epochs done", "epochs left", "attacked"]
            rows = [[_cell(row[key]) for key in columns] for row in plan["models"]]
            print_table(f"{name} in {place}: what would be done", headings, rows)
        return 0
    outcome = workflows.bench(
        name,
        suite=_part(name, data, only, epochs, limit_attacks),
        out=out,
        data_dir=data_dir,
        seeds=seeds,
        until=until,
        execution=execution,
    )
    summary = outcome.summary
    for row in summary["models"]:
        for flag in row["flags"]:
            execution.progress.note(f"flag {flag['name']} of {row['model']} on {row['data']}: {flag['message']}")
        if row["violations"]:
            print_reason(f"CONTRADICTION: {row['violations']} images of {row['model']} on {row['data']}")
    if json_output:
        print_json(outcome.document)
    elif summary["models"]:
        bench_result(summary["models"])
        if summary["report"]:
            print_line(f"claims: {summary['claims']}")
            print_line(f"report: {summary['report']}")
    else:
        training_result(summary["trainings"])
    return FINDING if summary["violations"] else 0


def _cell(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _part(name: str, data: str | None, only: tuple[str, ...], epochs: int | None, limit: int | None) -> Suite:
    """The suite, or what is asked of it."""
    suite = read_suite(name)
    if data is not None:
        suite = suite.on(data)
    if only:
        suite = suite.only(only)
    if epochs is not None:
        suite = suite.trained_for(epochs)
    return suite if limit is None else suite.at_most(limit)

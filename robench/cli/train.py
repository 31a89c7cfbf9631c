"""`robench train`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from robench.cli import completion, options
from robench.cli.console import Command, print_json, print_line
from robench.errors import SpecError
from robench.specs.data import DataSpec

if TYPE_CHECKING:
    from robench.workflows import Execution


@click.command(cls=Command, short_help="Train a 1-Lipschitz network or a baseline")
@click.option(
    "--recipe",
    required=True,
    metavar="NAME",
    shell_complete=completion.recipes,
    help="hkr, gnp-hinge, gnp-log, 1lip-log, adv, plain (standard), kr, margin.",
)
@options.data_name
@options.data_dir
@click.option(
    "--arch",
    metavar="NAME|FILE",
    shell_complete=completion.architectures,
    help="Architecture, or a JSON file of layers.  [default: the recipe's]",
)
@click.option("--epochs", type=click.IntRange(1), help="Passes over the training split.  [default: the recipe's]")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of the weights and of the order of the data.",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Override a field of the spec, such as `loss.alpha=10`. Repeatable.",
)
@click.option(
    "--engine",
    type=click.Choice(["torchrun"]),
    help="Train in several processes, each with a part of every batch, by torch's torchrun.  [default: this process]",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Processes of torchrun.  [default: one for each GPU, or core]",
)
@click.option("--show-spec", is_flag=True, help="Print the spec as JSON and stop.")
@options.out(required=False, help_text="Model folder to write. Required without --show-spec.")
@options.dry_run
@options.as_json
@options.execution
def train(
    *,
    recipe: str,
    data: str,
    data_dir: Path | None,
    arch: str | None,
    epochs: int | None,
    seed: int,
    changes: tuple[str, ...],
    engine: Literal["torchrun"] | None,
    workers: int | None,
    show_spec: bool,
    out: Path | None,
    dry_run: bool,
    json_output: bool,
    execution: Execution,
) -> None:
    """Train a model by a recipe and write its model folder.

    \b
    Examples:
      robench train --recipe hkr --data mnist --epochs 3 --out hkr
      robench train --recipe adv --data mnist --set adversarial.eps=1.5 --out adv
      robench train --recipe hkr --data two-moons --show-spec
      robench train --recipe hkr --data cifar10 --engine torchrun --workers 4 --device cuda --out hkr

    The model folder holds plain exported weights (safetensors). `certify` and `attack` read them. The same command
    resumes a training that was stopped.
    """
    from robench import workflows
    from robench.cli.results import foreseen_result, show_flags, train_line
    from robench.engines.torchrun import is_follower, train_together, under_torchrun

    if out is None and not show_spec:
        raise SpecError("no folder to write the model to", hint="give one with --out DIR")
    spec = workflows.train_spec(
        recipe,
        DataSpec(name=data),
        data_dir=data_dir,
        arch=arch,
        epochs=epochs,
        seed=seed,
        changes=dict(parse_change(text) for text in changes),
        progress=execution.progress,
    )
    if out is None or show_spec:
        print_json(spec.to_dict())
        return
    if dry_run:
        plan = workflows.foresee_training(spec, out, data_dir=data_dir, execution=execution)
        (print_json if json_output else foreseen_result)(plan)
        return
    if (engine or workers) and not under_torchrun():  # a settings file asks each process for workers again
        where: dict[str, Any] = {"--device": execution.device, "--threads": execution.threads or 1, "--out": out}
        given = {"--recipe": recipe, "--data": data, "--data-dir": data_dir, "--arch": arch, "--epochs": epochs}
        given |= {"--seed": seed, **where}
        words = [part for name, value in given.items() if value is not None for part in (name, str(value))]
        changed = [part for text in changes for part in ("--set", text)]
        quiet = ["-q"] if options.given("quiet") else []

        def is_finished() -> bool:
            plan = workflows.foresee_training(spec, out, data_dir=data_dir, execution=execution)
            return bool(plan["status"] == "success")

        train_together(["train", *words, *changed, *quiet], workers or _processes(execution), is_finished)
    outcome = workflows.train(spec, out, data_dir=data_dir, execution=execution)
    if is_follower():
        return
    if json_output:
        print_json(outcome.summary)
    else:
        print_line(outcome.folder)
    execution.progress.note(train_line(outcome.summary, spec.select_eps))
    show_flags(outcome.summary["flags"], execution.progress.note)
    used = {"--data-dir": data_dir, "--device": options.given("device"), "--threads": options.given("threads")}
    more = [part for name, value in used.items() if value is not None for part in (name, str(value))]
    execution.progress.note(f"next: {shlex.join(['robench', 'certify', str(out), '--data', data, *more])}")


def _processes(execution: Execution) -> int:
    """One for each GPU where the training is to run on GPUs, else one for each core that its threads leave."""
    from robench.engines.local import usable_cores

    if execution.start().type == "cuda":
        import torch

        return torch.cuda.device_count()
    return max(1, usable_cores() // (execution.threads or 1))


def parse_change(text: str) -> tuple[str, Any]:
    """`field=value` with a JSON value, or a bare word.

    Raises:
        SpecError: there is no `=`.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise SpecError(f"`--set {text}` has no value", hint="write it as FIELD=VALUE, such as `loss.alpha=10`")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value

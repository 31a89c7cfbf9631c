"""`robench attack`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from robench.cli import completion, options
from robench.cli.console import Command, print_json, print_reason

if TYPE_CHECKING:
    from robench.specs.evaluation import SuiteName
    from robench.specs.shard import Shard
    from robench.workflows import DataRef, Execution, ModelRef


@click.command(cls=Command, short_help="Attack every image and check against the certificates")
@options.model
@options.data
@options.eps(required=True)
@click.option(
    "--suite",
    type=click.Choice(["paper", "strong", "autoattack"]),
    default="paper",
    show_default=True,
    help="paper: foolbox's fgsm, pgd, cw and deepfool. strong: these and adv-lib's ddn, apgd and fab. autoattack: "
    "apgd-ce, apgd-t, fab and square, at one ε.",
)
@click.option(
    "--attack",
    "attacks",
    multiple=True,
    metavar="NAME[:OPTION=VALUE,...]",
    shell_complete=completion.attacks,
    help="Run this attack instead of a suite, such as `cw:steps=1000,initial_const=10`. Repeatable.",
)
@click.option("--full", is_flag=True, help="Run every attack on every image that is not certified.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the random starts.")
@options.shard
@options.out(required=False, help_text="Run folder. The same command resumes it.  [default: under runs/]")
@options.fail_under(
    "Exit with 1 if combined robust accuracy at any ε is below RATE, or if the model predicts one class only."
)
@options.dry_run
@options.as_json
@options.batches
def attack(
    *,
    model: ModelRef,
    data: DataRef,
    eps: tuple[str, ...],
    suite: SuiteName,
    attacks: tuple[str, ...],
    full: bool,
    seed: int,
    shard: Shard | None,
    out: Path | None,
    fail_under: float | None,
    dry_run: bool,
    json_output: bool,
    execution: Execution,
) -> int:
    """Attack every image, keep the smallest verified distance, and check it against the certificate.

    \b
    MODEL is a model folder, a .pt2 program, an .onnx file, or FILE.py:factory (usually with --weights).

    \b
    Examples:
      robench attack hkr --data mnist --limit 500 --eps 0.5,1,1.58,2,3
      robench attack hkr --data mnist --eps 36/255 --suite strong --full
      robench attack hkr --data mnist --eps 1 --attack pgd:steps=200 --attack deepfool

    An image is broken at ε if it is misclassified, or if an attack found an adversarial example within ε. robench
    verifies each adversarial example by itself: its class in float64, its distance rounded up. A distance below the
    certified radius of the same image is a contradiction. robench stores it, and the exit code is 1.
    """
    from robench import workflows
    from robench.cli.main import FINDING
    from robench.cli.results import attack_result, foreseen_result, gate, show_flags
    from robench.specs.attacks import parse_attack_options

    if dry_run:
        plan = workflows.foresee_attack(
            model,
            data,
            eps=eps,
            suite=suite,
            attacks=parse_attack_options(attacks),
            full=full,
            seed=seed,
            shard=shard,
            out=out,
            execution=execution,
        )
        (print_json if json_output else foreseen_result)(plan)
        return 0
    outcome = workflows.attack(
        model,
        data,
        eps=eps,
        suite=suite,
        attacks=parse_attack_options(attacks),
        full=full,
        seed=seed,
        shard=shard,
        out=out,
        execution=execution,
    )
    print_json(outcome.document) if json_output else attack_result(outcome.summary)
    execution.progress.note(f"run folder: {outcome.folder}")
    show_flags(outcome.summary["flags"], execution.progress.note)
    if outcome.summary["violations"]:
        print_reason(f"CONTRADICTION: {outcome.summary['violations']} images; see {outcome.folder}/contradictions.json")
        return FINDING
    return gate(outcome.summary["n_robust"]["combined"], outcome.summary, fail_under)

"""`robench certify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import click

from robench.cli import options
from robench.cli.console import Command, print_json
from robench.cli.smoothing import Smoothing, smoothing
from robench.specs.evaluation import ExtraRule

if TYPE_CHECKING:
    from robench.specs.evaluation import DeployDtype
    from robench.specs.shard import Shard
    from robench.workflows import DataRef, Execution, ModelRef


@click.command(cls=Command, short_help="Prove a certified L2 radius for every image")
@options.model
@options.data
@options.eps(required=False, default_text="36/255,0.5,1,1.58,2,3")
@click.option(
    "--deploy-dtype",
    type=click.Choice(["float64", "float32"]),
    default="float64",
    show_default=True,
    help="Arithmetic of the deployed model. float32 shrinks every radius by the rounding error, and certifies no image "
    "to which the float32 model gives another class.",
)
@click.option(
    "--rule",
    "rules",
    multiple=True,
    type=click.Choice(get_args(ExtraRule)),
    help="Also certify by this rule, which takes its time. Repeatable.",
)
@options.box(
    "Certify within a box of inputs alone, every entry from LOW to HIGH, or `data`: the bounds of the data. Products "
    "of signals, attention and layer norm have a finite constant there.  [default: all inputs]"
)
@smoothing
@options.shard
@options.out(required=False, help_text="Run folder. The same command resumes it.  [default: under runs/]")
@options.fail_under(
    "Exit with 1 if certified accuracy by the last rule shown at any ε is below RATE, or if the model predicts one "
    "class only."
)
@options.dry_run
@options.as_json
@options.batches
def certify(
    *,
    model: ModelRef,
    data: DataRef,
    eps: tuple[str, ...],
    deploy_dtype: DeployDtype,
    smoothing: Smoothing | None,
    rules: tuple[ExtraRule, ...],
    box: tuple[float, float] | Literal["data"] | None,
    shard: Shard | None,
    out: Path | None,
    fail_under: float | None,
    dry_run: bool,
    json_output: bool,
    execution: Execution,
) -> int:
    """Prove a certified L2 radius for every image.

    \b
    MODEL is a model folder, a .pt2 program, an .onnx file, or FILE.py:factory (usually with --weights).

    \b
    Examples:
      robench certify hkr --data mnist --eps 0.5,1,1.58
      robench certify net.onnx --data npz:images.npz --eps 0.5
      robench certify net.py:make --weights net.safetensors --data cifar10 --eps 36/255
      robench certify noisy.pt2 --data cifar10 --method smoothing --sigma 0.25 --eps 0.25

    An image counts as certified at ε if it is classified correctly and its radius is above ε. The table shows each
    rule. `paper` is |f(x)|/L for one logit, and half the gap of the two largest logits over L otherwise. `pairwise`
    divides the gap of each pair of classes by the constant of that pair, and is never smaller. `scaled` does it with
    smaller constants, which exist for chains of linear layers and functions such as ReLU.

    With `--box` a radius r says: no x' in the box with ‖x' − x‖ < r has another class. Nothing is said of inputs
    outside, and images outside are refused.
    """
    from robench import workflows
    from robench.cli.results import certify_result, foreseen_result, gate, show_flags, smoothed_result
    from robench.specs.epsilon import DEFAULT_EPS

    if dry_run:
        if smoothing is not None:
            plan = workflows.foresee_smoothed(
                model, data, shard=shard, out=out, execution=execution, **smoothing._asdict()
            )
        else:
            plan = workflows.foresee_certify(
                model, data, deploy_dtype=deploy_dtype, rules=rules, box=box, shard=shard, out=out, execution=execution
            )
        (print_json if json_output else foreseen_result)(plan)
        return 0
    if smoothing is not None:
        outcome = workflows.certify_smoothed(
            model, data, eps=eps or DEFAULT_EPS, shard=shard, out=out, execution=execution, **smoothing._asdict()
        )
        print_json(outcome.document) if json_output else smoothed_result(outcome.summary)
        execution.progress.note(f"run folder: {outcome.folder}")
        show_flags(outcome.summary["flags"], execution.progress.note)
        return gate(outcome.summary["n_certified"]["smoothed"], outcome.summary, fail_under)
    outcome = workflows.certify(
        model,
        data,
        eps=eps or DEFAULT_EPS,
        deploy_dtype=deploy_dtype,
        rules=rules,
        box=box,
        shard=shard,
        out=out,
        execution=execution,
    )
    print_json(outcome.document) if json_output else certify_result(outcome.summary)
    execution.progress.note(f"run folder: {outcome.folder}")
    show_flags(outcome.summary["flags"], execution.progress.note)
    return gate([*outcome.summary["n_certified"].values()][-1], outcome.summary, fail_under)

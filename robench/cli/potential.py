"""`robench potential`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from robench.cli import options
from robench.cli.console import Command, print_json

if TYPE_CHECKING:
    from robench.workflows import DataRef, Execution, ModelRef


@click.command(cls=Command, short_help="Compare a two-class model with its optimal transport problem")
@options.model
@options.data
@click.option("--alpha", type=click.FloatRange(0), help="Weight of the hinge, λ in Theorem 2.  [default: as trained]")
@click.option("--margin", type=click.FloatRange(0), help="Margin m of the hinge.  [default: as trained]")
@options.out(required=True, help_text="Folder for the numbers and figures.")
@options.as_json
@options.execution
def potential(
    *,
    model: ModelRef,
    data: DataRef,
    alpha: float | None,
    margin: float | None,
    out: Path,
    json_output: bool,
    execution: Execution,
) -> int:
    """Compare a two-class model with the optimum of its transport problem.

    \b
    Examples:
      robench potential hkr --data two-moons --split train --limit 600 --out potential
      robench potential net --data mnist:0-8 --split train --limit 600 --alpha 50 --margin 1 --out potential

    Theorem 2 of the paper (Serrurier et al.) says how small the hKR loss of a 1-Lipschitz function can be on these
    examples. A linear program computes this optimum, and the gap says how far the model is from it. The command also
    shows how f is distributed in each class, whether the two classes overlap, the norms of the gradient, and the level
    map for points of the plane. Exit code 1 means that the model is better than possible: its Lipschitz bound is wrong.
    """
    from robench import workflows
    from robench.cli.main import FINDING
    from robench.cli.results import potential_result, show_flags

    outcome = workflows.potential(model, data, out=out, alpha=alpha, margin=margin, execution=execution)
    print_json(outcome.document) if json_output else potential_result(outcome.summary)
    execution.progress.note(f"figures: {outcome.folder}")
    show_flags(outcome.summary["flags"], execution.progress.note)
    return FINDING if outcome.summary["duality"]["exceeded"] else 0

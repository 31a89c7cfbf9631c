"""`robench potential`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from robench.cli import options
from robench.cli.console import Command, print_json

if TYPE_CHECKING:
    from robench.workflows import DataRef, Execution, ModelRef


@click.command(cls=Command, short_help="Hold a two-class model against its optimal transport problem")
@options.model
@options.data
@click.option("--alpha", type=click.FloatRange(0), help="Weight of the hinge.  [default: as trained]")
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
    """Hold a two-class model against its optimal transport problem.

    \b
    Examples:
      robench potential hkr --data two-moons --split train --limit 600 --out potential
      robench potential net --data mnist:0-8 --split train --limit 600 --alpha 50 --margin 1 --out potential

    No 1-Lipschitz function can have a smaller hKR loss on these examples than the transport problem of Theorem 2
    (Serrurier et al.) allows; a linear program finds that optimum, and the gap says how far the model is from it.
    Also: the distribution of f in each class and whether the two overlap, the norms of its gradient, and for points of
    the plane its level map. Exit code 1 if the model does better than possible: its audited constant is wrong.
    """
    from robench import workflows
    from robench.cli.main import FINDING
    from robench.cli.results import potential_result, show_flags

    outcome = workflows.potential(model, data, out=out, alpha=alpha, margin=margin, execution=execution)
    (print_json if json_output else potential_result)(outcome.summary)
    execution.progress.note(f"figures: {outcome.folder}")
    show_flags(outcome.summary["flags"], execution.progress)
    return FINDING if outcome.summary["duality"]["exceeded"] else 0

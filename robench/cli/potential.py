"""`robench potential`."""

from __future__ import annotations

from typing import Any

import click

from robench.cli import options
from robench.cli.console import Command, Screen, print_json


@click.command(cls=Command, short_help="Hold a two-class model against its optimal transport problem")
@options.model
@options.data
@options.subset
@click.option("--alpha", type=click.FloatRange(0), help="Weight of the hinge.  [default: as trained]")
@click.option("--margin", type=click.FloatRange(0), help="Margin m of the hinge.  [default: as trained]")
@options.out(required=True, help_text="Folder for the numbers and figures.")
@options.as_json
@options.execution
def potential(json_output: bool, **given: Any) -> int:
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
    from robench.cli.requests import data_ref, execution, model_ref
    from robench.cli.results import potential_result, show_flags

    screen = Screen(quiet=given["quiet"])
    outcome = workflows.potential(
        model_ref(given),
        data_ref(given),
        out=given["out"],
        alpha=given["alpha"],
        margin=given["margin"],
        execution=execution(given, screen),
    )
    (print_json if json_output else potential_result)(outcome.summary)
    screen.note(f"figures: {outcome.folder}")
    show_flags(outcome.summary["flags"], screen)
    return FINDING if outcome.summary["duality"]["exceeded"] else 0

"""`robench audit`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from robench.cli import options
from robench.cli.console import Command, Screen, print_json

if TYPE_CHECKING:
    from robench.workflows import ModelRef


@click.command(cls=Command, short_help="Bound the Lipschitz constant of any torch model")
@options.model
@options.as_json
@options.screen
def audit(*, model: ModelRef, json_output: bool, screen: Screen) -> None:
    """Bound the Lipschitz constant of any torch model, layer by layer.

    \b
    MODEL is a model folder, a .pt2 program, an .onnx file, or FILE.py:factory with --input-shape.

    \b
    Examples:
      robench audit hkr
      robench audit net.py:make --weights net.safetensors --input-shape 3,32,32 --json

    The upper bound is proven, in float64 with its rounding error; the lower bound is a slope that was found, so the
    gap between the two shows how loose the bound may be. An operation without a rule is refused by name.
    """
    from robench import workflows
    from robench.cli.results import audit_result

    summary = workflows.audit(model, progress=screen)
    (print_json if json_output else audit_result)(summary)

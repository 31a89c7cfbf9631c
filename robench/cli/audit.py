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
@options.box("Bound over a box of inputs alone, every entry from LOW to HIGH, such as `0,1`.  [default: all inputs]")
@options.as_json
@options.screen
def audit(*, model: ModelRef, box: tuple[float, float] | None, json_output: bool, screen: Screen) -> None:
    """Bound the Lipschitz constant of any torch model, layer by layer.

    \b
    MODEL is a model folder, a .pt2 program, an .onnx file, or FILE.py:factory with --input-shape.

    \b
    Examples:
      robench audit hkr
      robench audit net.py:make --weights net.safetensors --input-shape 3,32,32 --json

    The upper bound is proven, rounding errors included. The lower bound is the largest slope that a search found. The
    gap between the two shows how loose the upper bound may be. If an operation has no rule, robench stops and names it.

    Products of signals, attention and layer norm have a finite constant over a box of inputs, `--box 0,1`. It may be
    huge.
    """
    from robench import workflows
    from robench.cli.results import audit_result

    summary = workflows.audit(model, box=box, progress=screen)
    (print_json if json_output else audit_result)(summary)

"""`robench export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from robench.cli import options
from robench.cli.console import Command, Screen, print_json, print_line

if TYPE_CHECKING:
    from robench.workflows import ModelRef


@click.command(cls=Command, short_help="Write a model for another runtime")
@options.model
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["state-dict", "pt2", "onnx"]),
    required=True,
    help="state-dict: the weights, as .pt if FILE ends in .pt, else as .safetensors. pt2: torch.export. onnx: float32.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, metavar="FILE", help="File to write."
)
@options.as_json
@options.screen
def export(
    *,
    model: ModelRef,
    file_format: Literal["state-dict", "pt2", "onnx"],
    out: Path,
    json_output: bool,
    screen: Screen,
) -> None:
    """Write a model for another runtime, and check that the outputs agree.

    \b
    Examples:
      robench export hkr --format pt2 --out hkr.pt2
      robench export hkr --format state-dict --out hkr.safetensors
    """
    from robench import workflows

    file = workflows.export(model, file_format, out, progress=screen)
    if json_output:
        print_json({**workflows.heading("export"), "file": str(file), "format": file_format})
    else:
        print_line(file)

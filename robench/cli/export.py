"""`robench export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from robench.cli import options
from robench.cli.console import Command, Screen, print_line


@click.command(cls=Command, short_help="Write a model for another runtime")
@options.model
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["state-dict", "pt2", "onnx"]),
    required=True,
    help="state-dict: the weights as .safetensors, or .pt if FILE ends so; pt2: torch.export; onnx: float32.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, metavar="FILE", help="File to write."
)
@options.quiet
def export(file_format: Literal["state-dict", "pt2", "onnx"], out: Path, **given: Any) -> None:
    """Write a model for another runtime, and check that its outputs agree.

    \b
    Examples:
      robench export hkr --format pt2 --out hkr.pt2
      robench export hkr --format state-dict --out hkr.safetensors
    """
    from robench.cli.requests import model_ref
    from robench.models.export import export_model

    model = model_ref(given).load(progress=Screen(quiet=given["quiet"]))
    export_model(model, file_format, out)
    print_line(out)

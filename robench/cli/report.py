"""`robench report`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from robench.cli import completion, options
from robench.cli.console import Command, Screen, print_json, print_line
from robench.errors import SpecError
from robench.specs.epsilon import HINT, split_epsilons

Format = Literal["page", "tsv", "robustbench", "attackbench"]


def _radius(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """One radius as written, checked; none stays none."""
    if value is None:
        return None
    radii = split_epsilons((value,))
    if len(radii) > 1:
        raise SpecError(f"`--target-eps` takes one radius, not {len(radii)}", hint=HINT)
    return radii[0]


@click.command(cls=Command, short_help="Write curves, tables and one HTML page")
@click.argument(
    "runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path), shell_complete=completion.runs
)
@options.out(required=True, help_text="Folder for the report.")
@click.option(
    "--target-eps",
    metavar="E",
    callback=_radius,
    help="L2 radius at which the models are ranked, such as `0.5` or `36/255`.  [default: 1.58 for mnist, 36/255 for "
    "cifar10, else the middle one of the runs]",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["page", "tsv", "robustbench", "attackbench"]),
    help="page: HTML, Markdown, CSV, LaTeX and figures. The others are layouts of other projects: tsv of "
    "locuslab/smoothing, robustbench, attackbench. Repeatable.  [default: page]",
)
@options.as_json
@options.screen
def report(
    *,
    runs: tuple[Path, ...],
    out: Path,
    target_eps: str | None,
    formats: tuple[Format, ...],
    json_output: bool,
    screen: Screen,
) -> None:
    """Write curves, tables and one self-contained HTML page over run folders.

    \b
    RUN is a run folder of `certify` or `attack`, or a folder that holds some.

    \b
    Examples:
      robench report runs --out report
      robench report runs/certify-hkr runs/attack-hkr --out report
      robench report runs --target-eps 0.5 --out report
      robench report runs/certify-hkr --format tsv --out tables

    The page begins with the answer: models ranked at one radius by certified accuracy, ties within the sampling error
    called ties, what each cost, and whether to believe it. It opens in any browser, without a network. It
    depends on the run folders alone: the same runs give the same bytes.
    """
    from robench import workflows

    layouts = [name for name in dict.fromkeys(formats) if name != "page"]
    page = workflows.report(runs, out, target_eps=target_eps) if not layouts or "page" in formats else None
    files = workflows.exchange(runs, out, layouts) if layouts else []
    if json_output:
        found = {"report": None if page is None else str(page), "files": [str(file) for file in files]}
        print_json({**workflows.heading("report"), "folder": str(out), **found})
    else:
        for file in (*([] if page is None else [page]), *files):
            print_line(file)

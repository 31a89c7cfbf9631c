"""`robench list`."""

from __future__ import annotations

from pathlib import Path

import click

from robench.cli import options
from robench.cli.console import Command, print_entry, print_json, print_table
from robench.numerics import ABSENT

WHAT = ("recipes", "architectures", "data", "attacks", "suites", "runs", "rules")


@click.command(cls=Command, short_help="List recipes, architectures, data, attacks, suites, runs or rules")
@click.argument("what", type=click.Choice(WHAT), metavar="WHAT")
@click.argument("folder", default=".", type=click.Path(path_type=Path))
@options.as_json
def list(*, what: str, folder: Path, json_output: bool) -> None:
    """List what can be named, or the runs below a folder.

    \b
    Examples:
      robench list recipes
      robench list attacks --json
      robench list runs results

    WHAT is recipes, architectures, data, attacks, suites, runs or rules. FOLDER is for `runs` alone; without it, that
    is the folder that you are in. `rules` are those of certificates, and the operations of torch whose bound robench
    knows, or why there is none.
    """
    from robench import workflows

    document = workflows.listed(what, folder)
    if json_output:
        print_json(document)
        return
    if what == "runs":
        columns = ("command", "status", "model", "data", "n")
        rows = [
            [str(item["name"]), *(ABSENT if item[key] is None else str(item[key]) for key in columns)]
            for item in document["items"]
        ]
        print_table(f"runs below {folder}", ["folder", *columns], rows)
        return
    for item in document["items"]:
        kind = f" ({item['of']})" if "of" in item else ""
        settings = "; ".join(f"{name}={value}" for name, value in item.get("options", {}).items())
        print_entry(f"{item['name']}{kind}: {item['about']}" + (f" [{settings}]" if settings else ""))

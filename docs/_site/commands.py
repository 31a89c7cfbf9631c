"""The commands as click knows them, with the words of `--help`.

mkdocs-click was tried: it runs the lines of an example together, and writes `Sentinel.UNSET` for what has no default.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator

import click

from robench.cli.main import robench


def contexts() -> Iterator[click.Context]:
    """The group itself, then each command, and the commands of commands."""
    yield from _below(click.Context(robench, info_name="robench", **robench.context_settings))


def _below(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            assert command is not None
            yield from _below(click.Context(command, info_name=name, parent=context, **command.context_settings))


def commands_table() -> str:
    """A section for each command."""
    return "\n\n".join(map(_section, contexts()))


TABLES: dict[str, Callable[[], str]] = {"table of commands": commands_table}
"""Markers in pages, and what comes in their place."""


def _section(context: click.Context) -> str:
    command = context.command
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    rows = [
        f"| `{record[0]}` | {_cell(record[1])} |"
        for parameter in command.get_params(context)
        if (record := parameter.get_help_record(context)) is not None
    ]
    level = "##" if context.parent is None else "###"
    return "\n\n".join(
        [
            f"{level} {context.command_path}",
            f"```\n{usage}\n```",
            *map(_paragraph, re.split(r"\n\n+", inspect.cleandoc(command.help or ""))),
            "\n".join(["| option | what it does |", "|---|---|", *rows]),
        ]
    )


def _paragraph(text: str) -> str:
    """A paragraph of a help text; lines that click leaves as they are stay lines."""
    if not text.startswith("\b"):
        return text.replace("*", "\\*")
    text = text.removeprefix("\b").strip("\n")
    head, _, rest = text.partition("\n")
    return f"{head}\n\n```\n{rest}\n```" if rest else head


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("[default", "\\[default").replace("*", "\\*")

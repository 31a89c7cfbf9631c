"""Settings from a file: `robench.toml`, a table a command. The command line and the environment come first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from robench.errors import RobenchError, SpecError, did_you_mean

FILE = Path("robench.toml")
"""Looked for in the working directory."""
PREFIX = "ROBENCH"
"""Of variables of the environment: `ROBENCH_TRAIN_EPOCHS` is `--epochs` of `train`."""
NOT_SET = ("config", "help")
SOURCES = {ParameterSource.DEFAULT_MAP: "the settings file", ParameterSource.ENVIRONMENT: "the environment"}


def option() -> click.Option:
    """`--config`, which every command has."""
    return click.Option(
        ["--config"],
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        envvar=f"{PREFIX}_CONFIG",
        is_eager=True,
        expose_value=False,
        callback=_use,
        help="Settings, one table a command.  [default: robench.toml here, if there is one]",
    )


def said(context: click.Context) -> list[str]:
    """A line for each place other than the command line from which settings of the running command came."""
    found: dict[str, list[str]] = {}
    for parameter in context.command.params:
        source = SOURCES.get(context.get_parameter_source(str(parameter.name)))  # type: ignore[arg-type]
        if source is not None and parameter.name not in NOT_SET:
            found.setdefault(source, []).append(max(parameter.opts, key=len))
    return [f"note: {source} sets {', '.join(names)}" for source, names in found.items()]


def _use(context: click.Context, parameter: click.Parameter, given: Path | None) -> None:
    """Make the settings of the running command its defaults."""
    if context.resilient_parsing or (given is None and not FILE.is_file()):
        return
    tables = read(given or FILE)
    context.default_map = tables.get(str(context.command.name), {})


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The settings in a file: by command, the values of its parameters. All of it is checked, whatever command runs.

    Raises:
        SpecError: the file cannot be read, names a command or an option that does not exist, or a value does not serve.
    """
    from robench.cli.main import COMMANDS, robench

    found = {}
    for table, settings in _toml(path).items():
        if table not in COMMANDS:
            raise SpecError(f"`{path}` has a table `{table}`, which is no command", hint=did_you_mean(table, COMMANDS))
        if not isinstance(settings, dict):
            raise SpecError(f"`{table}` in `{path}` is no table", hint=f"write [{table}], and its settings below")
        command = robench.get_command(click.Context(robench), table)
        assert command is not None
        found[table] = dict(_setting(path, table, command, *item) for item in settings.items())
    return found


def _toml(path: Path) -> dict[str, Any]:
    try:
        import tomllib

        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ModuleNotFoundError:
        text = f"`{path}` is TOML, which needs Python 3.11 or newer"
        raise SpecError(text, hint="use variables such as ROBENCH_TRAIN_EPOCHS, or a newer Python") from None
    except (OSError, ValueError) as error:
        raise SpecError(f"`{path}` cannot be read: {error}", hint="write a TOML file, a table a command") from None


def _setting(path: Path, table: str, command: click.Command, key: str, value: Any) -> tuple[str, Any]:
    """A parameter and its value as click takes it.

    Raises:
        SpecError: there is no such option, or the value does not serve.
    """
    options = {max(item.opts, key=len).lstrip("-"): item for item in command.params if isinstance(item, click.Option)}
    known = {name: item for name, item in options.items() if name not in NOT_SET}
    chosen = known.get(key.replace("_", "-"))
    if chosen is None:
        raise SpecError(f"`{table}` has no option `{key}` (in `{path}`)", hint=did_you_mean(key, known))
    try:
        plain = _plain(chosen, value)
        chosen.process_value(click.Context(command, info_name=table), plain)
    except (click.ClickException, RobenchError, TypeError) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        hint = f"see `robench {table} --help`"
        raise SpecError(f"`{key}` of `{table}` in `{path}` is {value!r}: {text}", hint=hint) from None
    assert chosen.name is not None
    return chosen.name, plain


def _plain(option: click.Option, value: Any) -> Any:
    """A value of TOML as the command line would give it."""
    if option.is_flag:
        if not isinstance(value, bool):
            raise TypeError("it is true or false")
        return value
    if isinstance(value, dict):
        if option.name != "changes":
            raise TypeError("it is no table")
        return [f"{field}={json.dumps(item)}" for field, item in _flat(value).items()]
    if isinstance(value, list):
        texts = [_text(item) for item in value]
        return texts if option.multiple else ",".join(texts)
    return [_text(value)] if option.multiple else _text(value)


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A table within tables with dotted names."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _text(value: Any) -> str:
    if isinstance(value, dict | list):
        raise TypeError("it holds tables or lists")
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, bool) else str(value)

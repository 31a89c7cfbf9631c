"""The `robench` command and what its exit code means.

0 success; 1 success with a negative finding; 2 an error that the user can fix; 3 a bug of robench; 130 interrupted.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Sequence

import click

from robench.cli.config import PREFIX
from robench.cli.console import claim_stdout
from robench.errors import RobenchError, did_you_mean

COMMANDS = (
    "train",
    "certify",
    "attack",
    "merge",
    "slurm",
    "audit",
    "potential",
    "report",
    "show",
    "claims",
    "bench",
    "export",
    "verify",
    "gate",
    "list",
)
FINDING, USAGE, BUG, INTERRUPTED = 1, 2, 3, 130


class LazyGroup(click.Group):
    """Imports the module of a command only when the command runs, so that `--help` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of a user's work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"robench.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command where the one given is unknown."""
        unknown = args and args[0] not in COMMANDS and not args[0].startswith("-")
        if unknown and not ctx.resilient_parsing:  # which is completion: it has no errors
            raise RobenchError(f"there is no command `{args[0]}`", hint=did_you_mean(args[0], COMMANDS))
        return super().resolve_command(ctx, args)


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from robench import __version__

        click.echo(f"robench, version {__version__}")
        context.exit()


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 success; 1 success with a negative finding; 2 an error that you can fix; 3 a bug of robench; "
    "130 interrupted.",
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version and exit."
)
def robench() -> None:
    """Certify and attack classifiers, and check one result against the other.

    \b
    Examples:
      robench bench                                      all steps on embedded data
      robench train --recipe hkr --data mnist --out hkr  train a 1-Lipschitz network
      robench certify hkr --data mnist --eps 0.5,1,1.58  prove L2 radii
      robench attack hkr --data mnist --eps 0.5,1        try to break it
      robench report runs --out report                   curves, tables, one HTML page

    Results go to stdout, everything else to stderr. All radii are L2 in input units (pixels in [0, 1]).
    """


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    claim_stdout()
    sys.exit(run(list(sys.argv[1:] if argv is None else argv)))


def run(argv: list[str]) -> int:
    """Run the command line; the exit code."""
    try:
        result = robench.main(args=argv, prog_name="robench", standalone_mode=False, auto_envvar_prefix=PREFIX)
        return result if isinstance(result, int) else 0
    except RobenchError as error:
        click.echo(f"error: {error.message}\n\nhint: {error.hint}", err=True)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "robench"
        message = re.sub(r"\s*\n\s*", " ", error.format_message())  # click writes choices one below the other
        click.echo(f"error: {message}\n\nhint: {_guess(error)}see `{path} --help`", err=True)
        return USAGE
    except click.exceptions.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted: the same command resumes the work", err=True)  # click has ended the line of ^C
        return INTERRUPTED
    except BaseException as error:
        if (blamed := _blamed(error)) is not None:
            click.echo(f"error: {blamed.message}\n\nhint: {blamed.hint}", err=True)
            return blamed.exit_code
        if isinstance(error, SystemExit):  # click's and rich's answer to a closed pipe: all that is read was said
            return 0
        import traceback

        from robench import __version__

        click.echo(f"{traceback.format_exc()}\nerror: this is a bug of robench {__version__}", err=True)
        click.echo("\nhint: please report it with the lines above", err=True)
        return BUG


def _guess(error: click.ClickException) -> str:
    """What may have been meant by a value that is none of a few; empty where nothing is near."""
    kind = getattr(getattr(error, "param", None), "type", None)
    named = re.match("'(.*?)' is not one of", error.message)
    if not isinstance(kind, click.Choice) or named is None:
        return ""
    guess, question, _ = did_you_mean(named[1], map(str, kind.choices)).partition("? ")
    return f"{guess}{question}" if question else ""


def _blamed(error: BaseException) -> RobenchError | None:
    """An error that the user can fix: the system refused, or the user's own code raised. None for a bug of robench."""
    if isinstance(error, OSError) and error.filename is not None:
        text = f"`{error.filename}` cannot be used: {error.strerror or error}"
        return RobenchError(text, hint="check the path, its permissions and the space on its disk")
    if isinstance(error, MemoryError):
        return RobenchError("there is not enough memory", hint="use fewer images (--limit) or a smaller --batch-size")
    blame = sys.modules.get("robench.models.user_code.blame")  # without a model there was no such code
    return None if blame is None else blame.late_blame(error)

"""Whose error it is: what a user's code raises becomes a message that names the line of that code."""

from __future__ import annotations

import contextlib
import signal
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from robench.errors import ModelError, RobenchError
from robench.models.user_code.importing import is_users

_HERE = Path(__file__).resolve().parents[2]
_TORCH = Path(torch.__file__).resolve().parent
LONGEST = 300
"""Characters of somebody else's message that are shown."""
SCRIPT_HINT = 'what only the command line needs belongs under `if __name__ == "__main__":`'


@contextlib.contextmanager
def blamed(what: str, when: str = "", hint: str | None = None) -> Iterator[None]:
    """Turn whatever a user's code raises into a `ModelError`; only a pressed Ctrl-C passes.

    Args:
        what: whose code it is.
        when: what it was doing, such as `on import`.
        hint: what to do about it, unless the error itself tells.

    Raises:
        ModelError: with the line of the user's code.
    """
    with _pressed() as pressed:
        try:
            yield
        except RobenchError:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and pressed:
                raise
            raise ModelError(f"{what} {reason(error, when)}", hint=_hint(error, hint)) from error


@contextlib.contextmanager
def late_blamed() -> Iterator[None]:
    """What the model's own code raises in the midst of an evaluation becomes the model's error; all else passes.

    Raises:
        ModelError: with the line of the user's code.
    """
    try:
        yield
    except RobenchError:
        raise
    except Exception as error:
        blame = late_blame(error)
        if blame is None:
            raise
        raise blame from error


def late_blame(error: BaseException) -> ModelError | None:
    """The error of a model's own code in the midst of an evaluation; None if it came through no such code."""
    place = user_place(error)
    if place is None:
        return None
    return ModelError(
        f"the model {reason(error)}",
        hint="its forward must take batches of any size, with and without gradients, in float32 and in float64, on "
        "the device of its input; a smaller batch size needs less memory",
    )


def reason(error: BaseException, when: str = "") -> str:
    """What happened and where, such as `fails in line 3 of net.py: ValueError: no weights`."""
    place = user_place(error)
    where = (f" {when}" if when else "") + (f" in {place}" if place else "")
    if isinstance(error, SystemExit):
        says = "" if error.code is None else f": {_first_line(error)}"
        says = f" with exit code {error.code}" if isinstance(error.code, int) else says
        return f"ends the program{where}{says}"
    return f"fails{where}: {type(error).__name__}: {_first_line(error)}".removesuffix(": ")


def user_place(error: BaseException) -> str | None:
    """The innermost line of a user's code that an error came through; None if it came through none.

    User's code is what lies in the folder of a model's file, the `forward` of a class that neither robench nor torch
    has, and the graph of an exported program.
    """
    if isinstance(error, SyntaxError) and error.filename and is_users(error.filename):
        return f"line {error.lineno} of `{Path(error.filename).name}`"
    frames = traceback.extract_tb(error.__traceback__)
    if (place := _users_line(frames)) is not None:
        return place
    for frame in reversed(frames):
        if frame.filename.startswith("<eval_with_key>"):
            return "the exported program"
        path = Path(frame.filename).resolve()
        foreign = not path.is_relative_to(_HERE) and not path.is_relative_to(_TORCH)
        if frame.name == "forward" and foreign:
            return f"line {frame.lineno} of `{path.name}`"
    return None


def calling_place() -> str:
    """The innermost line of a user's code on the stack."""
    return _users_line(traceback.extract_stack()) or "code that it imports"


def _users_line(frames: traceback.StackSummary) -> str | None:
    for frame in reversed(frames):
        if is_users(frame.filename):
            return f"line {frame.lineno} of `{Path(frame.filename).name}`"
    return None


def _first_line(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # a user's class may do anything
        return ""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= LONGEST else line[:LONGEST] + " ..."


def _hint(error: BaseException, otherwise: str | None) -> str:
    if isinstance(error, SystemExit):
        return SCRIPT_HINT
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"install `{error.name.partition('.')[0]}`, or put it beside the file; `python FILE.py` must run"
    return otherwise or "check that `python FILE.py` runs, and that the factory takes no arguments"


@contextlib.contextmanager
def _pressed() -> Iterator[list[bool]]:
    """A list that is not empty once Ctrl-C was pressed: code may raise KeyboardInterrupt of itself."""
    pressed: list[bool] = []
    before: Any = signal.getsignal(signal.SIGINT)
    if before in (signal.SIG_IGN, signal.SIG_DFL):  # the key is ignored or kills: an exception is the code's own
        yield pressed
        return
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield [True]
        return

    def note(number: int, frame: Any) -> None:
        pressed.append(True)
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        if signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, before)

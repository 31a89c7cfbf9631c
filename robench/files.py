"""Files and folders: JSON written whole or not at all, and folders that one process holds at a time."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from robench.errors import RunError

LOCK = ".lock"


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, never sees half of it.

    Raises:
        RunError: the folder cannot be written.
    """
    data = content.encode("utf-8", errors="replace") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RunError(
            f"cannot write `{path}`: {error.strerror or error}",
            hint="give a folder you can write to, on a disk with free space",
        ) from None


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write plain data as indented JSON, atomically; NaN is refused."""
    write_atomic(path, json.dumps(data, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        RunError: missing, unreadable or not a JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"`{path}` does not exist", hint="name a folder that robench has written") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"`{path}` cannot be read: {error}", hint="move it elsewhere and make the run again") from None
    if not isinstance(data, dict):
        raise RunError(f"`{path}` holds no JSON object", hint="move it elsewhere and make the run again")
    return data


def create_folder(path: Path) -> None:
    """Make a folder and its parents.

    Raises:
        RunError: it cannot be made, or a file of that name is in the way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"cannot make the folder `{path}`: {error.strerror or error}", hint="give another --out folder"
        ) from None


def lock_folder(folder: Path, *, doing: str) -> BaseFileLock:
    """Take a folder for this process, until `release` is called or the process ends, however it ends.

    The operating system holds the lock, so that a killed process leaves none behind. A file system without locks is
    refused: a file that stands for a lock would outlive its process.

    Raises:
        RunError: another process holds it, which is said to be `doing` something there, or it cannot be written.
    """
    lock = FileLock(folder / LOCK, timeout=0, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise RunError(
            f"another process is {doing} `{folder}`", hint="wait for it, or give another --out folder"
        ) from None
    except OSError as error:
        raise RunError(
            f"cannot write in `{folder}`: {error.strerror or error}", hint="give a folder you can write to"
        ) from None
    return lock

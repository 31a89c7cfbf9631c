"""Files of JSON lines that grow while work is done: records, effort, the history of a training."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from robench.errors import RunError


class Journal:
    """A file that lines are added to, each flushed; it is opened at the first one.

    Args:
        path: the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None

    def append(self, line: str) -> None:
        """Write one line and flush it.

        Raises:
            RunError: it cannot be written.
        """
        try:
            if self._file is None:
                self._file = self.path.open("a", encoding="utf-8")
            self._file.write(line + "\n")
            self._file.flush()
        except OSError as error:
            raise RunError(
                f"cannot write to `{self.path}`: {error.strerror or error}",
                hint="free disk space, then give the same command again",
            ) from None

    def cut_torn_line(self) -> None:
        """Cut off a last line that a kill has left without its end."""
        if self.path.exists():
            content = self.path.read_bytes()
            complete = content.rfind(b"\n") + 1
            if complete != len(content):
                with self.path.open("r+b") as file:
                    file.truncate(complete)

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._file is not None:
            self._file.close()
        self._file = None

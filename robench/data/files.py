"""Open files of the user's, and say by name and reason what is wrong with them."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path

from robench.errors import DataError

DEFLATE_RATIO = 1032
"""Deflate expands no byte to more than 1032, so a header that promises more lies."""

FETCH_AGAIN = "fetch it again from its source, or name another data folder (`--data-dir`, in Python `data_dir=`)"


def broken(path: Path | str, reason: str, *, hint: str = FETCH_AGAIN) -> DataError:
    """The error that a file is not what it should be.

    Args:
        path: of the file.
        reason: what it is or does, as the rest of a sentence.
        hint: what the user can do.
    """
    return DataError(f"`{path}` {reason}", hint=hint)


@contextlib.contextmanager
def reading(path: Path, *, hint: str = FETCH_AGAIN) -> Iterator[None]:
    """Turn what the system says about a file into a `DataError` that names it.

    Args:
        path: the file.
        hint: what to do where its content is at fault.

    Raises:
        DataError: missing, a folder, not readable, or torn packed data.
    """
    try:
        yield
    except FileNotFoundError:
        raise broken(
            path, "does not exist", hint="name the data folder (`--data-dir`, in Python `data_dir=`)"
        ) from None
    except IsADirectoryError:
        raise broken(path, "is a folder, not a file", hint="name the file itself") from None
    except PermissionError:
        raise broken(path, "cannot be read: permission denied", hint=f"run `chmod u+rX {path}`") from None
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise broken(path, f"is truncated or holds broken packed data: {error}", hint=hint) from None
    except OSError as error:
        raise broken(path, f"cannot be read: {error.strerror or error}", hint=hint) from None

"""Download published files into the cache of the user, through pooch, with checksums."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from robench.data.published import Remote
from robench.errors import DataError
from robench.progress import Progress

CACHE_VARIABLE = "ROBENCH_DATA_DIR"
TIMEOUT = 30
"""Seconds without an answer after which a mirror is given up."""
CHUNK = 1 << 16


def cache_folder() -> Path:
    """The folder of downloads: the variable `ROBENCH_DATA_DIR`, else the per-user cache of the system."""
    import pooch

    return Path(os.environ.get(CACHE_VARIABLE) or pooch.os_cache("robench")).expanduser()


def fetch(remote: Remote, folder: Path, progress: Progress) -> Path:
    """Download a file into a folder, unless it is there already with the right checksum.

    The file gets its name only after its checksum is right, so a broken download leaves nothing behind.

    Args:
        remote: what to fetch; its mirrors are tried in order.
        folder: where to put it; made where it lacks.
        progress: told about the bytes.

    Raises:
        DataError: no mirror gives the file with that checksum, or the folder cannot be written.
    """
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    reasons = []
    for url in remote.urls:
        downloader = pooch.HTTPDownloader(progressbar=_Bar(remote.name, progress), timeout=TIMEOUT, chunk_size=CHUNK)
        try:
            path = pooch.retrieve(url, remote.checksum, fname=remote.name, path=folder, downloader=downloader)
            return Path(path)
        except (OSError, ValueError) as error:
            reasons.append(f"{url}: {_reason(error)}")
    raise DataError(
        f"cannot download `{remote.name}` to `{folder}`: {'; '.join(reasons)}",
        hint="fetch it yourself and name its folder (`--data-dir`, in Python `data_dir=`), or name another cache "
        f"folder in {CACHE_VARIABLE}",
    )


def _reason(error: Exception) -> str:
    """Why a mirror gave nothing, in a few words: the errors of the HTTP library take paragraphs."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT} s"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, ValueError):
        return "does not match the published checksum"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__


class _Bar:
    """What pooch wants of a progress bar: it sets `total` and calls the methods."""

    def __init__(self, label: str, progress: Progress) -> None:
        self._label = label
        self._progress = progress
        self._started = False
        self._done = 0
        self.total = 0

    def update(self, steps: int) -> None:
        """`steps` more bytes have come; pooch counts all of them once more at the end, which is passed over."""
        if not self._started:
            self._progress.start(f"downloading {self._label} (bytes)", self.total)
            self._started = True
        steps = min(steps, max(self.total - self._done, 0)) if self.total else steps
        self._done += steps
        self._progress.advance(steps)

    def reset(self) -> None:
        """All bytes have come."""

    def close(self) -> None:
        """The file is closed."""

"""When and with what something was made: what a reader needs to make it again."""

from __future__ import annotations

import contextlib
import platform
import subprocess
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

COMPUTING = ("torch", "foolbox", "adv-lib", "numpy", "scipy")
"""Packages whose versions may change a number in a record."""
PACKAGES = ("robench", *COMPUTING, "pandas", "matplotlib", "safetensors")


def utc_now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def environment() -> dict[str, Any]:
    """Versions, platform and git commit."""
    found = {"python": platform.python_version(), **versions(PACKAGES)}
    return {"versions": found, "platform": platform.platform(), "git": _git_state()}


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _git_state() -> dict[str, Any] | None:
    """Commit of the checkout that robench runs from, and whether it has changes; None outside a checkout."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *args], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.CalledProcessError):
        return None

"""Files and folders that systems leave beside images: passed over as hidden files are."""

from __future__ import annotations

NAMES = frozenset(
    (
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "icon\r",
        "__macosx",
        "__pycache__",
        "@eadir",
        "$recycle.bin",
        "system volume information",
        "lost+found",
    )
)
"""In small letters: Windows, macOS, Python, Synology and ext file systems write them, no user does."""


def is_clutter(name: str) -> bool:
    """Whether a system left a file or folder of this name, hidden ones among them."""
    return name.startswith(".") or name.lower() in NAMES

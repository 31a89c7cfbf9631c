"""What users call a split, and when two names are one."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from robench.data.files import broken
from robench.specs.data import Split

SPLIT_NAMES: Mapping[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
"""Taken in any capitals."""


def split_of(name: str) -> Split | None:
    """The split that a folder or the end of an array's name means."""
    return next((split for split, names in SPLIT_NAMES.items() if name.lower() in names), None)


def splits_found(items: Iterable[Path], place: Path) -> dict[Split, Path]:
    """Folders by the split that each means.

    Raises:
        DataError: two of them mean one split.
    """
    found: dict[Split, Path] = {}
    for item in items:
        split = split_of(item.name)
        if split is None:
            continue
        if split in found:
            text = f"holds `{found[split].name}` and `{item.name}`, which both mean the {split} split"
            raise broken(place, text, hint="rename one of them, or move it elsewhere")
        found[split] = item
    return found


def same_but_for_capitals(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two names that differ only in capitals or in how an accent is encoded."""
    seen: dict[str, str] = {}
    for name in names:
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            return seen[key], name
        seen[key] = name
    return None

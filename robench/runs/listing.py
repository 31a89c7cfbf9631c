"""What run folders and model folders lie below a path, by their manifests alone: no record is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robench.errors import RunError
from robench.files import read_json
from robench.runs.reading import MANIFEST, RECORDS, SUMMARY

TRAINING = "training.json"


def runs_below(path: Path) -> list[dict[str, Any]]:
    """One row a run or a training, sorted by path; what cannot be read has the status `damaged`.

    Raises:
        RunError: there is no such folder.
    """
    if not path.is_dir():
        raise RunError(f"`{path}` is no folder", hint="name a folder that holds runs")
    files = sorted(file for name in (MANIFEST, TRAINING) for file in path.rglob(name))
    return [_row(file) for file in sorted(files, key=lambda file: file.parent)]


def _row(file: Path) -> dict[str, Any]:
    folder, kind = file.parent, "train" if file.name == TRAINING else None
    row: dict[str, Any] = {"name": str(folder), "command": kind, "status": "damaged"}
    row |= dict.fromkeys(("model", "data", "n", "created"))
    try:
        manifest = read_json(file)
        facts = manifest.get("facts") or {}
        model, data = facts.get("model") or {}, facts.get("data") or facts.get("train") or {}
        return {
            **row,
            "command": kind or str(manifest.get("command")),
            "status": str(manifest.get("status", "unknown")),
            "model": model.get("name") or (folder.name if kind else None),
            "data": data.get("name"),
            "n": _images(folder) if kind is None else data.get("n"),
            "created": manifest.get("created"),
        }
    except (RunError, AttributeError):
        return row


def _images(folder: Path) -> int:
    """Images with a record: those of the summary, else the lines of the records."""
    if (folder / SUMMARY).exists():
        known = read_json(folder / SUMMARY).get("n")
        if isinstance(known, int):
            return known
    records = folder / RECORDS
    return records.read_bytes().count(b"\n") if records.exists() else 0

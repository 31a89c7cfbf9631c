"""What is on disk in run folders, for those that only read: names, records, effort, the runs below a path."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from robench.errors import RunError
from robench.records.record import AttackRecord
from robench.records.shapes import ANY, LARGEST, misfit

MANIFEST, RECORDS, SUMMARY, EFFORT = "manifest.json", "records.jsonl", "summary.json", "effort.jsonl"

R = TypeVar("R")


def read_records(path: Path, parse: Callable[[Mapping[str, Any]], R]) -> Iterator[R]:
    """The records of a run folder, in file order; a torn last line is passed over.

    Raises:
        RunError: a complete line is not a record, or its attacks are others than those of the first.
    """
    file = path / RECORDS
    if not file.exists():
        return
    try:
        content = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"`{file}` cannot be read: {error}", hint="move the run elsewhere and make it again") from None
    lines = content.split("\n")[:-1]
    attacks: list[str] | None = None
    for number, line in enumerate(lines, start=1):
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            raise RunError(
                f"line {number} of `{file}` is not JSON", hint="move the run elsewhere and make it again"
            ) from None
        record = parse(data)
        if isinstance(record, AttackRecord):
            attacks = list(record.attacks) if attacks is None else attacks
            if list(record.attacks) != attacks:
                raise RunError(
                    f"line {number} of `{file}` is of the attacks {', '.join(record.attacks) or '(none)'}, line 1 of "
                    f"{', '.join(attacks) or '(none)'}",
                    hint="move the run elsewhere and make it again",
                )
        yield record


def records_sha256(path: Path) -> str:
    """SHA-256 of the records of a run folder; of nothing where there are none."""
    file = path / RECORDS
    return hashlib.sha256(file.read_bytes() if file.exists() else b"").hexdigest()


def check_unchanged(path: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse a finished run whose records are no longer those that it was finished with.

    It holds against slips, such as an edit, a merge or a copy of one file; who means to forge changes the manifest too.

    Raises:
        RunError: they are others; a run of a robench that did not note them passes.
    """
    noted = manifest.get("records_sha256")
    if noted is not None and manifest.get("status") == "success" and noted != records_sha256(path):
        raise RunError(
            f"the records in `{path}` were changed after the run was finished",
            hint="make the run again in another folder; `robench verify` names records that do not hold",
        )


def find_runs(path: Path) -> list[Path]:
    """The run folders at or below a path, sorted.

    Raises:
        RunError: there is none.
    """
    if not path.exists():
        raise RunError(f"`{path}` does not exist", hint="name the --out folder of `certify` or `attack`")
    found = sorted(file.parent for file in path.rglob(MANIFEST)) if path.is_dir() else []
    if not found:
        raise RunError(f"`{path}` holds no run", hint="name the --out folder of `certify` or `attack`")
    return found


def read_effort(folder: Path) -> dict[str, float]:
    """Sums of all that was noted in a run folder, over all parts of an interrupted run; damage is passed over."""
    sums: dict[str, float] = {}
    path = folder / EFFORT
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1] if path.exists() else []:
        noted: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            noted = json.loads(line)
        if misfit(noted, {ANY: float}, EFFORT) is None:
            for name, amount in noted.items():
                if 0 <= amount <= LARGEST:
                    sums[name] = sums.get(name, 0) + amount
    return sums

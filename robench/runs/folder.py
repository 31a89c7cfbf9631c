"""Run folders: `manifest.json`, `records.jsonl`, `summary.json`; resumable at any moment, written atomically.

The manifest is written first with status `started` and rewritten at the end. Records are appended and flushed one
line an image; a line torn by a kill is cut off on resume. The same command on the same folder goes on at the first
missing image, another spec is refused, and a finished run is a no-op.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TextIO, TypeVar

from filelock import BaseFileLock

from robench.errors import RunError
from robench.files import LOCK, create_folder, lock_folder, read_json, write_json
from robench.records.record import SCHEMA_VERSION, AttackRecord
from robench.records.shapes import ANY, LARGEST, misfit
from robench.runs import shapes as run_shapes
from robench.specs.base import digest

MANIFEST, RECORDS, SUMMARY, EFFORT = "manifest.json", "records.jsonl", "summary.json", "effort.jsonl"
PACKAGES = ("robench", "torch", "foolbox", "numpy", "pandas", "matplotlib", "safetensors")

R = TypeVar("R")


def utc_now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def environment() -> dict[str, Any]:
    """Versions, platform and git commit: what a reader needs to make the run again."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {"versions": versions, "platform": platform.platform(), "git": _git_state()}


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


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What a run is about; written to the manifest.

    Fields:
        command: `certify` or `attack`.
        spec: all that decides the records (a `Spec` as plain data); a run is resumed only under an equal one.
        identity: further facts that must be equal to resume: digests of the function, its source, weights and data.
        facts: what is good to know and may differ on resume: argv, device, threads, model and data descriptions.
    """

    command: str
    spec: Mapping[str, Any]
    identity: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)


class RunFolder(Generic[R]):
    """A run folder open for writing; use as a context manager, which marks it `error` or `interrupted` on the way out.

    Args:
        path: the folder; made if absent.
        request: what the run is about.
        parse: JSON object to record.
        to_line: record to JSON line.
    """

    def __init__(
        self, path: Path, request: RunRequest, *, parse: Callable[[Mapping[str, Any]], R], to_line: Callable[[R], str]
    ) -> None:
        self.path = path
        self._request = request
        self._parse = parse
        self._to_line = to_line
        self._records: TextIO | None = None
        self._lock: BaseFileLock | None = None
        self.manifest: dict[str, Any] = {}
        self.finished_before = False

    def __enter__(self) -> RunFolder[R]:
        """Create or resume the folder.

        Raises:
            RunError: it cannot be written, belongs to another spec, or another process is writing it.
        """
        create_folder(self.path)
        self._lock = lock_folder(self.path, doing="writing")
        try:
            if (self.path / MANIFEST).exists():
                self._resume()
            else:
                self._start()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Close; a run left by an exception stays resumable."""
        try:
            if kind is not None and not self.finished_before:
                self._set_status("interrupted" if issubclass(kind, KeyboardInterrupt) else "error")
        finally:
            self._release()

    def records(self) -> list[R]:
        """The records on disk, in file order."""
        return list(read_records(self.path, self._parse))

    def summary(self) -> dict[str, Any] | None:
        """The summary on disk; None if there is none."""
        return read_json(self.path / SUMMARY) if (self.path / SUMMARY).exists() else None

    def append(self, record: R) -> None:
        """Write one record and flush it.

        Raises:
            RunError: it cannot be written.
        """
        if self.finished_before:
            self._reopen()
        try:
            if self._records is None:
                self._records = (self.path / RECORDS).open("a", encoding="utf-8")
            self._records.write(self._to_line(record) + "\n")
            self._records.flush()
        except OSError as error:
            raise RunError(
                f"cannot write a record to `{self.path}`: {error}", hint="free disk space, then run again"
            ) from None

    def spend(self, **amounts: float) -> None:
        """Note what has been spent since the last note (seconds, passes); kept apart, since records hold no timings.

        Raises:
            RunError: it cannot be written.
        """
        try:
            with (self.path / EFFORT).open("a", encoding="utf-8") as file:
                file.write(json.dumps(amounts, allow_nan=False) + "\n")
        except OSError as error:
            raise RunError(f"cannot write in `{self.path}`: {error}", hint="free disk space, then run again") from None

    def spent(self) -> dict[str, float]:
        """Sums of all that was noted, over all parts of an interrupted run."""
        return read_effort(self.path)

    def note(self, **facts: Any) -> None:
        """Keep further facts in the manifest; those that stand there already cost nothing.

        Raises:
            RunError: it cannot be written.
        """
        known = self.manifest.get("facts", {})
        if any(name not in known or known[name] != value for name, value in facts.items()):
            self.manifest = {**self.manifest, "facts": {**known, **facts}}
            write_json(self.path / MANIFEST, self.manifest)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the summary and mark the run `success`; a finished run whose summary says the same is left alone."""
        if self.finished_before and self.summary() == summary:
            return
        write_json(self.path / SUMMARY, summary)
        self._set_status("success", records_sha256=records_sha256(self.path))

    def _start(self) -> None:
        strange = sorted(path.name for path in self.path.iterdir() if path.name != LOCK)
        if strange:
            raise RunError(
                f"`{self.path}` is not empty and no run: it holds `{strange[0]}` but no manifest",
                hint="give another --out folder",
            )
        self.manifest = {
            "schema_version": SCHEMA_VERSION,
            "command": self._request.command,
            "status": "started",
            "created": utc_now(),
            "finished": None,
            "spec": dict(self._request.spec),
            "spec_digest": digest(self._request.spec),
            "identity": dict(self._request.identity),
            "facts": dict(self._request.facts),
            "argv": sys.argv[1:],
            "environment": environment(),
        }
        write_json(self.path / MANIFEST, self.manifest)

    def _resume(self) -> None:
        self.manifest = read_json(self.path / MANIFEST)
        if not all(isinstance(self.manifest.get(key), dict) for key in ("spec", "identity", "facts")):
            raise RunError(
                f"`{self.path / MANIFEST}` is no manifest", hint="give another --out folder, or move this one elsewhere"
            )
        summary = read_json(self.path / SUMMARY) if (self.path / SUMMARY).exists() else {}
        problem = misfit(self.manifest, run_shapes.MANIFEST, MANIFEST) or misfit(summary, run_shapes.SUMMARY, SUMMARY)
        if problem:
            raise RunError(
                f"`{self.path}` is not as robench wrote it: {problem}",
                hint="give another --out folder, or move this one elsewhere",
            )
        self._refuse_another_spec()
        self._refuse_another_identity()
        check_unchanged(self.path, self.manifest)
        for name in (RECORDS, EFFORT):
            self._cut_torn_line(self.path / name)
        self.finished_before = self.manifest.get("status") == "success"

    def _refuse_another_spec(self) -> None:
        asked: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "command": self._request.command,
            **flatten(self._request.spec),
        }
        if asked["command"] != self.manifest.get("command"):
            raise RunError(
                f"`{self.path}` is a run of `{self.manifest.get('command')}`, not of `{asked['command']}`",
                hint="give another --out folder",
            )
        stored: dict[str, Any] = {
            "schema_version": self.manifest.get("schema_version"),
            "command": self.manifest.get("command"),
            **flatten(self.manifest["spec"]),
        }
        if found := differences(stored, asked):
            raise RunError(
                f"`{self.path}` is a run of another spec: {'; '.join(found)}", hint="give another --out folder"
            )

    def _refuse_another_identity(self) -> None:
        """Records are of one function on one data set; a run that does not say of which is not gone on with."""
        stored, asked = self.manifest["identity"], self._request.identity
        missing = [key for key in asked if key not in stored]
        found = differences(stored, {key: value for key, value in asked.items() if key not in missing})
        if found:
            raise RunError(
                f"`{self.path}` holds records of another model or of other data: {'; '.join(found)}",
                hint="give another --out folder; without --out, each model gets a folder of its own",
            )
        if missing:
            raise RunError(
                f"`{self.path}` does not note `{missing[0]}`, so nothing says that its records are of this very model; "
                "it is of an older robench, or of another kind of model",
                hint="give another --out folder; `robench report` and `robench verify` still read this one",
            )

    def _reopen(self) -> None:
        """A finished run gets more images: its summary no longer speaks of all of them."""
        self._set_status("started")
        (self.path / SUMMARY).unlink(missing_ok=True)
        self.finished_before = False

    def _cut_torn_line(self, path: Path) -> None:
        if path.exists():
            content = path.read_bytes()
            complete = content.rfind(b"\n") + 1
            if complete != len(content):
                with path.open("r+b") as file:
                    file.truncate(complete)

    def _set_status(self, status: str, records_sha256: str | None = None) -> None:
        self.manifest = {**self.manifest, "status": status, "finished": utc_now(), "records_sha256": records_sha256}
        write_json(self.path / MANIFEST, self.manifest)

    def _release(self) -> None:
        if self._records is not None:
            self._records.close()
        if self._lock is not None:
            self._lock.release()
        self._records = self._lock = None


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


def differences(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What differs between two flat tables, each with both values."""
    return [
        f"`{key}` is {stored.get(key)!r} there and {asked.get(key)!r} here"
        for key in dict.fromkeys([*stored, *asked])
        if stored.get(key) != asked.get(key)
    ]


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


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

"""Run folders: `manifest.json`, `records.jsonl`, `summary.json`; resumable at any moment, written atomically.

Records are appended and flushed one line an image; a line torn by a kill is cut off on resume. The same command on the
same folder goes on at the first missing image, another spec is refused, and a finished run is a no-op.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from robench.errors import RunError
from robench.files import read_json, write_atomic, write_json
from robench.records.record import SCHEMA_VERSION
from robench.records.shapes import misfit
from robench.runs import shapes
from robench.runs.journal import Journal
from robench.runs.kept import ANOTHER_FOLDER, MOVE_IT, KeptFolder, Kind
from robench.runs.reading import (
    EFFORT,
    MANIFEST,
    RECORDS,
    SUMMARY,
    check_unchanged,
    read_effort,
    read_records,
    records_sha256,
)


class Indexed(Protocol):
    """What all records have."""

    @property
    def index(self) -> int:
        """Position of the image in its split."""


R = TypeVar("R", bound=Indexed)


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


class RunFolder(KeptFolder, Generic[R]):
    """A run folder open for writing; use as a context manager, which marks it `error` or `interrupted` on the way out.

    Args:
        path: the folder; made if absent.
        request: what the run is about.
        parse: JSON object to record.
        to_line: record to JSON line.
    """

    kind = Kind(
        manifest=MANIFEST,
        schema_version=SCHEMA_VERSION,
        noun="run",
        doing="writing",
        differs="records of another model or of other data",
        differs_hint=f"{ANOTHER_FOLDER}; without --out, each model gets a folder of its own",
        lacks="its records are of this very model; it is of an older robench, or of another kind of model",
        lacks_hint=f"{ANOTHER_FOLDER}; `robench report` and `robench verify` still read this one",
    )

    def __init__(
        self, path: Path, request: RunRequest, *, parse: Callable[[Mapping[str, Any]], R], to_line: Callable[[R], str]
    ) -> None:
        super().__init__(path, spec=request.spec, identity=request.identity, facts=request.facts)
        self._command = request.command
        self._parse, self._to_line = parse, to_line
        self._records, self._effort = Journal(path / RECORDS), Journal(path / EFFORT)

    def records(self) -> list[R]:
        """The records on disk, in file order."""
        return list(read_records(self.path, self._parse))

    def summary(self) -> dict[str, Any] | None:
        """The summary on disk; None if there is none."""
        return read_json(self.path / SUMMARY) if (self.path / SUMMARY).exists() else None

    def append(self, record: R) -> None:
        """Write one record and flush it; a finished run is then open again.

        Raises:
            RunError: it cannot be written.
        """
        self._reopen()
        self._records.append(self._to_line(record))

    def _reopen(self) -> None:
        if self.finished:
            self._set_status("started")
            (self.path / SUMMARY).unlink(missing_ok=True)  # it no longer speaks of all images

    def spend(self, **amounts: float) -> None:
        """Note what has been spent since the last note (seconds, passes); kept apart, since records hold no timings.

        Raises:
            RunError: it cannot be written.
        """
        self._effort.append(json.dumps(amounts, allow_nan=False))

    def spent(self) -> dict[str, float]:
        """Sums of all that was noted, over all parts of an interrupted run."""
        return read_effort(self.path)

    def arrange(self, records: Sequence[R], index: Sequence[int]) -> list[R]:
        """The records in the order of the images, on disk too: they may be of several workers, or of several goes.

        Args:
            records: all that are on disk.
            index: positions of their images, in the order of the data set.

        Raises:
            RunError: the records cannot be written.
        """
        place = {position: row for row, position in enumerate(index)}
        ordered = sorted(records, key=lambda record: place[record.index])
        if [record.index for record in ordered] != [record.index for record in records]:
            self._reopen()
            self._records.close()
            write_atomic(self.path / RECORDS, "".join(f"{self._to_line(record)}\n" for record in ordered))
        return ordered

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the summary and mark the run `success`; a finished run whose summary says the same is left alone.

        The manifest then names the command that made the run what it is: an earlier one may have asked for less.
        """
        if self.finished and self.summary() == summary:
            return
        write_json(self.path / SUMMARY, summary)
        self._set_status("success", argv=sys.argv[1:], records_sha256=records_sha256(self.path))

    def _first_manifest(self) -> dict[str, Any]:
        first = {"schema_version": SCHEMA_VERSION, "command": self._command}
        return {**first, **super()._first_manifest(), "argv": sys.argv[1:]}

    def _read_manifest(self) -> dict[str, Any]:
        manifest = super()._read_manifest()
        problem = misfit(manifest, shapes.MANIFEST, MANIFEST) or misfit(self.summary() or {}, shapes.SUMMARY, SUMMARY)
        if problem:
            raise RunError(f"`{self.path}` is not as robench wrote it: {problem}", hint=MOVE_IT)
        return manifest

    def _resume(self) -> None:
        super()._resume()
        check_unchanged(self.path, self.manifest)
        self._records.cut_torn_line()
        self._effort.cut_torn_line()

    def _refuse_another_spec(self) -> None:
        if self._command != self.manifest.get("command"):
            raise RunError(
                f"`{self.path}` is a run of `{self.manifest.get('command')}`, not of `{self._command}`",
                hint=ANOTHER_FOLDER,
            )
        super()._refuse_another_spec()

    def _set_status(self, status: str, **changes: Any) -> None:
        super()._set_status(status, **{"records_sha256": None, **changes})

    def _release(self) -> None:
        self._records.close()
        self._effort.close()
        super()._release()

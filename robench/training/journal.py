"""`training.json`, `history.jsonl` and the lock of a model folder in training: whose it is, and how far it came."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import BaseFileLock

from robench.errors import RunError
from robench.files import LOCK, create_folder, lock_folder, read_json, write_atomic, write_json
from robench.models import DESCRIPTION, HISTORY, STATE, TRAINING, WEIGHTS
from robench.records.record import SCHEMA_VERSION
from robench.runs.folder import differences, environment, flatten, utc_now
from robench.specs.training import TrainSpec

RENAMED = {
    "centre": "center",
    "temperature": "inverse_temperature",
    "focus": "count_weight",
    "accuracy": "clean_accuracy",
}
"""Fields of a spec, of its loss and of a result that older versions of robench called otherwise."""


def read_training(folder: Path) -> dict[str, Any]:
    """What `training.json` says; the fields of an older robench have their names of today.

    Raises:
        RunError: it is missing, cannot be read, or holds no spec.
    """
    record = read_json(folder / TRAINING)
    spec = record.get("spec")
    if not isinstance(spec, dict):
        raise RunError(f"`{folder / TRAINING}` holds no spec of a training", hint="train the model again")
    loss, result = _renamed(spec.get("loss")), _renamed(record.get("result"))
    return {**record, "spec": {**_renamed(spec), "loss": loss}, "result": result}


def _renamed(fields: Any) -> Any:
    return {RENAMED.get(key, key): value for key, value in fields.items()} if isinstance(fields, dict) else fields


class Journal:
    """A model folder open for training; use as a context manager, which records how the training ended.

    Args:
        path: the folder; made if absent.
        spec: how the model is trained; the folder is continued only under an equal one.
        identity: further facts that must be equal to continue: SHA-256 of the data.
        facts: what is good to know: device, threads, description of the data.
        resume: continue what is there; else training starts anew and replaces it.
    """

    def __init__(
        self, path: Path, spec: TrainSpec, *, identity: Mapping[str, str], facts: Mapping[str, Any], resume: bool
    ) -> None:
        self.path = path
        self._spec = spec
        self._identity = dict(identity)
        self._facts = dict(facts)
        self._resume = resume
        self._lock: BaseFileLock | None = None
        self.record: dict[str, Any] = {}

    @property
    def finished(self) -> bool:
        """Whether the training in this folder is complete."""
        return self.record.get("status") == "success"

    def __enter__(self) -> Journal:
        """Take the folder.

        Raises:
            RunError: it cannot be written, belongs to another spec, or another process trains in it.
        """
        create_folder(self.path)
        self._lock = lock_folder(self.path, doing="training in")
        try:
            if (self.path / TRAINING).exists() and self._resume:
                self._continue()
            else:
                self._start()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Let the folder go; a training left by an exception can be resumed."""
        try:
            if kind is not None and not self.finished:
                self._set(status="interrupted" if issubclass(kind, KeyboardInterrupt) else "error")
        finally:
            self._release()

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace the history."""
        write_atomic(self.path / HISTORY, "".join(_line(row) for row in rows))

    def append_history(self, row: Mapping[str, Any]) -> None:
        """Add an epoch to the history."""
        try:
            with (self.path / HISTORY).open("a", encoding="utf-8") as file:
                file.write(_line(row))
        except OSError as error:
            raise RunError(
                f"cannot write to `{self.path}`: {error.strerror or error}", hint="free disk space, then train again"
            ) from None

    def finish(self, result: Mapping[str, Any]) -> None:
        """Mark the training complete."""
        self._set(status="success", result=dict(result))

    def _start(self) -> None:
        strange = sorted(path.name for path in self.path.iterdir() if path.name != LOCK)
        if strange and TRAINING not in strange:
            raise RunError(
                f"`{self.path}` is not empty and no training: it holds `{strange[0]}` but no `{TRAINING}`",
                hint="give another --out folder",
            )
        for name in (WEIGHTS, DESCRIPTION, HISTORY):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.path / STATE, ignore_errors=True)
        self.record = {
            "schema_version": SCHEMA_VERSION,
            "status": "started",
            "created": utc_now(),
            "finished": None,
            "spec": self._spec.to_dict(),
            "spec_digest": self._spec.digest(),
            "identity": self._identity,
            "facts": self._facts,
            "environment": environment(),
            "result": None,
        }
        write_json(self.path / TRAINING, self.record)

    def _continue(self) -> None:
        self.record = read_training(self.path)
        identity = self.record.get("identity")
        stored = {**flatten(self.record["spec"]), **(identity if isinstance(identity, dict) else {})}
        found = differences(stored, {**flatten(self._spec.to_dict()), **self._identity})
        if found:
            raise RunError(
                f"`{self.path}` holds a model of another training: {'; '.join(found)}",
                hint="give another --out folder, or move this one elsewhere",
            )
        version = self.record.get("schema_version")
        if version != SCHEMA_VERSION and not self.finished:
            raise RunError(
                f"`{self.path}` holds a training that an older robench began, of schema version {version!r}",
                hint="give another --out folder, or move this one elsewhere",
            )

    def _set(self, **changes: Any) -> None:
        self.record = {**self.record, "finished": utc_now(), **changes}
        write_json(self.path / TRAINING, self.record)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
        self._lock = None


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, allow_nan=False, separators=(",", ":")) + "\n"

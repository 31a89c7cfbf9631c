"""A folder with a manifest: one process holds it, only an equal spec continues it, and it says how the work ended.

The manifest is written first with status `started`, and rewritten with `success`, `interrupted` or `error` at the end.
Run folders and model folders in training are such folders.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

from filelock import BaseFileLock

from robench.errors import RunError
from robench.files import LOCK, create_folder, lock_folder, read_json, write_json
from robench.runs.environment import environment, utc_now
from robench.specs.base import digest

K = TypeVar("K", bound="KeptFolder")

ANOTHER_FOLDER = "give another --out folder"
MOVE_IT = "give another --out folder, or move this one elsewhere"


class Kind(NamedTuple):
    """What a kept folder is called in files and messages.

    Fields:
        manifest: name of its file.
        schema_version: of the manifest and what stands beside it.
        noun: what the folder is.
        doing: what the process that holds it is doing; the folder's name follows.
        differs: what it holds if the identity differs.
        differs_hint: what the user can do then.
        lacks: what nobody knows if the manifest lacks a part of the identity.
        lacks_hint: what the user can do then.
    """

    manifest: str
    schema_version: int
    noun: str
    doing: str
    differs: str
    differs_hint: str
    lacks: str
    lacks_hint: str


class KeptFolder:
    """A folder with a manifest, open for writing; use as a context manager.

    A subclass says what it is called (`kind`) and adds what it writes.

    Args:
        path: the folder; made if absent.
        spec: all that decides what is written, as plain data.
        identity: further facts that must be equal to continue: digests of the model and the data.
        facts: what is good to know and may differ.
    """

    kind: ClassVar[Kind]

    def __init__(
        self, path: Path, *, spec: Mapping[str, Any], identity: Mapping[str, str], facts: Mapping[str, Any]
    ) -> None:
        self.path = path
        self.manifest: dict[str, Any] = {}
        self._spec, self._identity, self._facts = dict(spec), dict(identity), dict(facts)
        self._lock: BaseFileLock | None = None

    @property
    def finished(self) -> bool:
        """Whether the work in this folder is complete."""
        return self.manifest.get("status") == "success"

    def __enter__(self: K) -> K:
        """Take the folder, and start or continue.

        Raises:
            RunError: it cannot be written, belongs to another spec, or another process holds it.
        """
        create_folder(self.path)
        self._lock = lock_folder(self.path, doing=self.kind.doing)
        try:
            if self._continues():
                self._resume()
            else:
                self._start()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Let the folder go; what an exception leaves can be continued."""
        try:
            if kind is not None and not self.finished:
                self._set_status("interrupted" if issubclass(kind, KeyboardInterrupt) else "error")
        finally:
            self._release()

    def note(self, **facts: Any) -> None:
        """Keep further facts in the manifest; those that stand there already cost nothing.

        Raises:
            RunError: it cannot be written.
        """
        known = self.manifest.get("facts", {})
        if any(name not in known or known[name] != value for name, value in facts.items()):
            self._write({"facts": {**known, **facts}})

    def _continues(self) -> bool:
        return (self.path / self.kind.manifest).exists()

    def _start(self) -> None:
        strange = sorted(path.name for path in self.path.iterdir() if path.name != LOCK)
        if strange and self.kind.manifest not in strange:
            raise RunError(
                f"`{self.path}` is not empty and no {self.kind.noun}: it holds `{strange[0]}` but no "
                f"`{self.kind.manifest}`",
                hint=ANOTHER_FOLDER,
            )
        self._clear()
        self._write(self._first_manifest())

    def _clear(self) -> None:
        """Delete what earlier work has left, if it is not continued."""

    def _first_manifest(self) -> dict[str, Any]:
        return {
            "schema_version": self.kind.schema_version,
            "status": "started",
            "created": utc_now(),
            "finished": None,
            "spec": self._spec,
            "spec_digest": digest(self._spec),
            "identity": self._identity,
            "facts": self._facts,
            "environment": environment(),
        }

    def _resume(self) -> None:
        self.manifest = self._read_manifest()
        if not all(isinstance(self.manifest.get(key), dict) for key in ("spec", "identity", "facts")):
            raise RunError(f"`{self.path / self.kind.manifest}` is no manifest", hint=MOVE_IT)
        self._refuse_another_spec()
        self._refuse_another_identity()

    def _read_manifest(self) -> dict[str, Any]:
        return read_json(self.path / self.kind.manifest)

    def _refuse_another_spec(self) -> None:
        stored = {"schema_version": self.manifest.get("schema_version"), **flatten(self.manifest["spec"])}
        asked = {"schema_version": self.kind.schema_version, **flatten(self._spec)}
        if found := differences(stored, asked):
            raise RunError(
                f"`{self.path}` is a {self.kind.noun} of another spec: {'; '.join(found)}", hint=ANOTHER_FOLDER
            )

    def _refuse_another_identity(self) -> None:
        stored = self.manifest["identity"]
        missing = [key for key in self._identity if key not in stored]
        found = differences(stored, {key: value for key, value in self._identity.items() if key not in missing})
        if found:
            raise RunError(f"`{self.path}` holds {self.kind.differs}: {'; '.join(found)}", hint=self.kind.differs_hint)
        if missing:
            raise RunError(
                f"`{self.path}` does not note `{missing[0]}`, so nothing says that {self.kind.lacks}",
                hint=self.kind.lacks_hint,
            )

    def _set_status(self, status: str, **changes: Any) -> None:
        self._write({"status": status, "finished": utc_now(), **changes})

    def _write(self, changes: Mapping[str, Any]) -> None:
        self.manifest = {**self.manifest, **changes}
        write_json(self.path / self.kind.manifest, self.manifest)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
        self._lock = None


def differences(
    stored: Mapping[str, Any], asked: Mapping[str, Any], places: tuple[str, str] = ("there", "here")
) -> list[str]:
    """What differs between two flat tables, each with both values.

    Args:
        stored: the one.
        asked: the other.
        places: where the two are, as the text says it.
    """
    return [
        f"`{key}` is {stored.get(key)!r} {places[0]} and {asked.get(key)!r} {places[1]}"
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

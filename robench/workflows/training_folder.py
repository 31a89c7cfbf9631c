"""Model folders in training: `training.json` names the training and how far it came, `history.jsonl` each epoch."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robench.errors import RobenchError, RunError
from robench.files import read_json, write_atomic
from robench.models import DESCRIPTION, HISTORY, STATE, TRAINING, WEIGHTS
from robench.records.record import SCHEMA_VERSION
from robench.runs.journal import Journal
from robench.runs.kept import ANOTHER_FOLDER, MOVE_IT, KeptFolder, Kind
from robench.specs.training import TrainSpec

RENAMED = {"centre": "center", "accuracy": "clean_accuracy"}
"""Fields of a spec and of a result that older versions of robench called otherwise."""
RENAMED_OF_LOSS = {"log": {"temperature": "inverse_temperature"}, "pairwise-margin": {"focus": "count_weight"}}
"""The same of losses, by their type: other losses have fields of those names today."""
POINTS = 60
"""Of a curve in a manifest."""


class TrainingFolder(KeptFolder):
    """A model folder open for training; use as a context manager, which records how the training ended.

    Args:
        path: the folder; made if absent.
        spec: how the model is trained; the folder is continued only under an equal one.
        identity: further facts that must be equal to continue: SHA-256 of the data.
        facts: what is good to know: device, threads, description of the data.
        resume: continue what is there; else training starts anew and replaces it.
    """

    kind = Kind(
        manifest=TRAINING,
        schema_version=SCHEMA_VERSION,
        noun="training",
        doing="training in",
        differs="a model that was trained on other data",
        differs_hint=MOVE_IT,
        lacks="it was trained on these data",
        lacks_hint=MOVE_IT,
    )

    def __init__(
        self, path: Path, spec: TrainSpec, *, identity: Mapping[str, str], facts: Mapping[str, Any], resume: bool
    ) -> None:
        super().__init__(path, spec=spec.to_dict(), identity=identity, facts=facts)
        self._anew = not resume
        self._history = Journal(path / HISTORY)

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace the history."""
        write_atomic(self._history.path, "".join(f"{_line(row)}\n" for row in rows))

    def append_history(self, row: Mapping[str, Any]) -> None:
        """Add an epoch to the history."""
        self._history.append(_line(row))

    def finish(self, result: Mapping[str, Any]) -> None:
        """Mark the training complete."""
        self._set_status("success", result=dict(result))

    def _continues(self) -> bool:
        return super()._continues() and not self._anew

    def _clear(self) -> None:
        for name in (WEIGHTS, DESCRIPTION, HISTORY):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.path / STATE, ignore_errors=True)

    def _first_manifest(self) -> dict[str, Any]:
        return {**super()._first_manifest(), "result": None}

    def _read_manifest(self) -> dict[str, Any]:
        return read_training(self.path)

    def _release(self) -> None:
        self._history.close()
        super()._release()


def read_training(folder: Path) -> dict[str, Any]:
    """What `training.json` says; what an older robench has finished there has the names of today.

    Raises:
        RunError: it is missing, cannot be read, or holds no spec.
    """
    record = read_json(folder / TRAINING)
    spec = record.get("spec")
    if not isinstance(spec, dict):
        raise RunError(f"`{folder / TRAINING}` holds no spec of a training", hint=ANOTHER_FOLDER)
    loss = spec.get("loss")
    if isinstance(loss, dict):
        loss = _renamed(loss, RENAMED_OF_LOSS.get(str(loss.get("type")), {}))
    result = _renamed(record.get("result"), RENAMED)
    version = SCHEMA_VERSION if record.get("status") == "success" else record.get("schema_version")
    return {**record, "schema_version": version, "spec": {**_renamed(spec, RENAMED), "loss": loss}, "result": result}


def training_facts(folder: Path) -> dict[str, Any] | None:
    """What a manifest says of how a model was trained; None where its folder does not say it.

    The curves are of the validation split, at some epochs, so that a reader sees whether the training had settled.
    """
    try:
        record = read_training(folder)
        spec, result = TrainSpec.from_dict(record["spec"]), record["result"]
        rows = [json.loads(line) for line in (folder / HISTORY).read_text(encoding="utf-8").splitlines()]
        rows = _thinned([row for row in rows if "clean_accuracy" in row])
        curves = {key: [_rate(row[key]) for row in rows] for key in ("clean_accuracy", "certified_estimate")}
        device = record.get("facts", {}).get("device_name")
        return {
            "recipe": spec.recipe,
            "arch": spec.arch,
            "constraint": spec.constraint,
            "loss": spec.loss.to_dict(),
            "seed": spec.seed,
            "epochs": spec.epochs,
            "points": [int(row["epoch"]) for row in rows],
            "kept_epoch": int(result["kept_epoch"]),
            "seconds": float(result["seconds"]),
            "device": None if device is None else str(device),
            "settings": _without_seed(spec),
            "curves": {key: values for key, values in curves.items() if None not in values},
        }
    except (RobenchError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # a copied folder may lack it, and certificates do not depend on it


def _thinned(rows: list[Any]) -> list[Any]:
    """At most `POINTS` of the rows, evenly, the last one among them."""
    step = -(-len(rows) // POINTS)
    return rows[::-1][::step][::-1] if step else rows


def _rate(value: Any) -> float | None:
    """A share of images from 0 to 1."""
    if value is not None and not 0.0 <= float(value) <= 1.0:
        raise ValueError(f"{value} is no share")
    return None if value is None else float(value)


def _without_seed(spec: TrainSpec) -> str:
    """Digest of what trainings that differ in their seed alone have in common."""
    return dataclasses.replace(spec, seed=0).digest()


def _renamed(fields: Any, names: Mapping[str, str]) -> Any:
    return {names.get(key, key): value for key, value in fields.items()} if isinstance(fields, dict) else fields


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, allow_nan=False, separators=(",", ":"))

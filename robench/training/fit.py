"""Training, from a spec and data to a model folder; resumable."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from robench.data import Dataset
from robench.devices import device_facts, exact_arithmetic, resolve_device
from robench.display import lower, upper
from robench.errors import DataError
from robench.files import create_folder
from robench.models import STATE, save_model
from robench.progress import NoProgress, Progress
from robench.specs.model import ModelDescription
from robench.specs.training import TrainSpec
from robench.statistics.predictions import accuracy_facts, record_flags
from robench.training.batches import DeviceData
from robench.training.journal import TrainingFolder
from robench.training.session import Session

STATE_FILE = "last.safetensors"
SAVE_SECONDS = 5.0
"""State is written after an epoch if this long has passed; a kill costs at most that and one epoch."""


@dataclass(frozen=True)
class TrainResult:
    """What a training made.

    Fields:
        folder: the model folder.
        weights_sha256: of `model.safetensors`.
        epochs: epochs trained.
        kept_epoch: the epoch whose weights are in the folder.
        clean_accuracy: on the validation split, of the kept weights.
        certified_estimate: share certified at `select_eps` if every layer had constant 1; None if unconstrained.
        seconds: of this call, and of the calls it resumed.
        n, n_correct, n_base: images of the validation split, those predicted right, those of its most frequent class;
            0 in folders of older versions.
        base_rate: n_base / n; None in folders of older versions.
        flags: what the predictions on it raise, as name and message: docs/flags.md.
        finished_before: nothing was done, since the folder was complete.
    """

    folder: Path
    weights_sha256: str
    epochs: int
    kept_epoch: int
    clean_accuracy: float
    certified_estimate: float | None
    seconds: float
    n: int = 0
    n_correct: int = 0
    n_base: int = 0
    base_rate: float | None = None
    flags: Sequence[Mapping[str, str]] = ()
    finished_before: bool = False


def fit(
    spec: TrainSpec,
    train: Dataset,
    validation: Dataset,
    *,
    out: Path,
    device: str | torch.device = "auto",
    progress: Progress | None = None,
    resume: bool = True,
    save_seconds: float = SAVE_SECONDS,
) -> TrainResult:
    """Train a model and write its folder.

    The same spec and data on the same device and number of threads give the same weights, also if the training was
    killed and called again; a complete folder is left as it is.

    Args:
        spec: how to train.
        train: training split, of the shape and classes of `spec.model`.
        validation: split on which epochs are scored and chosen.
        out: model folder.
        device: `auto`, `cpu`, `cuda:0`, or a torch device.
        progress: told each step and epoch.
        resume: continue a training of the same spec found in `out`; else start anew.
        save_seconds: least time between two writes of the state.

    Raises:
        DataError: the data do not fit the model.
        SpecError: the loss is no longer finite.
        RunError: `out` cannot be written, or holds another training.
    """
    _check_fit(spec, train)
    _check_fit(spec, validation)
    place = resolve_device(device) if isinstance(device, str) else device
    progress = NoProgress() if progress is None else progress
    facts = {**device_facts(place), "train": train.describe(), "validation": validation.describe()}
    identity = {"train_sha256": train.sha256, "validation_sha256": validation.sha256}
    with TrainingFolder(out, spec, identity=identity, facts=facts, resume=resume) as journal:
        if journal.finished:
            return TrainResult(folder=out, finished_before=True, **journal.manifest["result"])
        with _reproducible(place):
            session = Session(spec, DeviceData(train, place), DeviceData(validation, place), place)
            seconds = _run(session, journal, progress, save_seconds)
        sha256 = save_model(out, session.kept_model(), _description(spec, train, out))
        result = _result(session, sha256, seconds)
        journal.finish(result)
        return TrainResult(folder=out, **result)


def _run(session: Session, journal: TrainingFolder, progress: Progress, save_seconds: float) -> float:
    """Train the epochs that are missing; seconds used, those before a resume included."""
    state = journal.path / STATE / STATE_FILE
    create_folder(state.parent)
    before = 0.0
    if state.exists():
        before = session.restore(state)
    journal.write_history(session.history)
    started = saved = time.monotonic()
    epochs, steps = session.spec.epochs, session.steps_per_epoch
    progress.start(f"train {session.spec.recipe} on {session.spec.data.name}", epochs * steps)
    progress.advance(session.epoch * steps)
    while session.epoch < epochs:
        row = session.run_epoch(progress)
        journal.append_history(row)
        progress.advance(0, epoch=f"{session.epoch}/{epochs}", **_shown(row, session.spec.select_eps))
        now = time.monotonic()
        if now - saved >= save_seconds or session.epoch == epochs:
            session.save(state, seconds=before + now - started)
            saved = now
    return before + time.monotonic() - started


def _shown(row: dict[str, Any], eps: str) -> dict[str, str]:
    shown = {"loss": f"{row['loss']:.4g}", "accuracy": upper(row["clean_accuracy"])}
    if row["certified_estimate"] is not None:
        shown[f"certified@{eps} (estimate)"] = lower(row["certified_estimate"])
    return shown


def _result(session: Session, sha256: str, seconds: float) -> dict[str, Any]:
    kept = session.kept
    if kept is None:
        raise RuntimeError("a finished session keeps an epoch")
    predictions = session.validation_predictions()
    facts = accuracy_facts(predictions)
    return {
        "weights_sha256": sha256,
        "epochs": session.epoch,
        "kept_epoch": kept.epoch,
        "clean_accuracy": kept.score.clean_accuracy,
        "certified_estimate": kept.score.certified_estimate,
        "seconds": round(seconds, 3),
        "n": len(predictions),
        **{key: facts[key] for key in ("n_correct", "n_base", "base_rate")},
        "flags": [flag._asdict() for flag in record_flags(predictions)],
    }


def _description(spec: TrainSpec, train: Dataset, out: Path) -> ModelDescription:
    return ModelDescription(
        name=out.resolve().name,
        recipe=spec.recipe,
        arch=spec.arch,
        trained_on=train.name,
        class_names=train.class_names,
        constraint=spec.constraint,
        head=spec.head,
        model=spec.model,
    )


def _check_fit(spec: TrainSpec, dataset: Dataset) -> None:
    if dataset.shape != spec.model.input_shape or dataset.classes != spec.model.classes:
        raise DataError(
            f"`{dataset.name}` has inputs {list(dataset.shape)} in {dataset.classes} classes, the model takes "
            f"{list(spec.model.input_shape)} and tells {spec.model.classes} apart",
            hint="build the spec for this data set",
        )


@contextlib.contextmanager
def _reproducible(device: torch.device) -> Iterator[None]:
    """Deterministic kernels, and no TF32, so that the same seed gives the same weights."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        if device.type == "cuda":
            with exact_arithmetic():
                yield
        else:
            yield
    finally:
        torch.backends.cudnn.deterministic = before

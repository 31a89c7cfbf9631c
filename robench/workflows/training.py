"""`robench train`: a recipe and data to a model folder; resumable."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from robench.data import Dataset, load
from robench.devices import device_facts, resolve_device
from robench.engines.torchrun import under_torchrun
from robench.errors import ModelError
from robench.files import create_folder
from robench.models import STATE, read_tensors, save_model, write_tensors
from robench.progress import NoProgress, Progress
from robench.records.record import SCHEMA_VERSION
from robench.runs.kept import MOVE_IT
from robench.specs.model import ModelDescription
from robench.specs.training import TrainSpec
from robench.statistics.predictions import accuracy_facts, record_flags
from robench.training import Session
from robench.training.planning import train_spec
from robench.training.ranks import ALONE, Ranks, joined, own_device
from robench.training.session import check_fit
from robench.workflows.references import Execution, Outcome
from robench.workflows.training_folder import TrainingFolder

__all__ = ["TrainResult", "fit", "train", "train_spec"]

STATE_FILE = "last.safetensors"
SAVE_SECONDS = 5.0
"""State is written after an epoch if this long has passed; a kill costs at most that and one epoch."""
SAVE_SHARE = 20.0
"""And if this many times as long has passed as the last writing took, so that large states cost 5 % at most."""


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


def train(
    spec: TrainSpec,
    out: str | PathLike[str],
    *,
    data_dir: str | PathLike[str] | None = None,
    execution: Execution | None = None,
) -> Outcome:
    """Train a model and write its model folder; a finished folder of the same spec is a no-op.

    In a program that torch's `torchrun` has started as several processes, these train the model together.

    Args:
        spec: how to train, and on which data.
        out: the model folder.
        data_dir: folder with the data set's own files.
        execution: device, threads, progress.

    Raises:
        DataError: the data cannot be read or do not fit the spec.
        RunError: the folder cannot be written or holds another training.
        SpecError: the loss is no longer finite.
    """
    out, execution = Path(out), execution or Execution()
    device = execution.start()
    progress = execution.progress
    examples = load(spec.data, "train", data_dir=data_dir, limit=spec.limit, progress=progress)
    held_out = load(spec.data, "validation", data_dir=data_dir, progress=progress)
    result = fit(spec, examples, held_out, out=out, device=device, progress=progress)
    progress.close()
    return Outcome(
        out, {"schema_version": SCHEMA_VERSION, "command": "train", **dataclasses.asdict(result), "folder": str(out)}
    )


def fit(
    spec: TrainSpec,
    examples: Dataset,
    validation: Dataset,
    *,
    out: Path,
    device: str | torch.device = "auto",
    progress: Progress | None = None,
    resume: bool = True,
    save_seconds: float = SAVE_SECONDS,
) -> TrainResult:
    """Train a model on images that are loaded, and write its folder.

    The same spec and data on the same device and number of threads give the same weights, also if the training was
    killed and called again; a complete folder is left as it is. Where torch's `torchrun` has started several processes,
    they train the model together, and the first one writes.

    Args:
        spec: how to train.
        examples: images to train on, of the shape and classes of `spec.model`.
        validation: images on which epochs are scored and chosen.
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
    for images in (examples, validation):
        check_fit(spec, images)  # before the folder is made
    place = resolve_device(device) if isinstance(device, str) else device
    together = under_torchrun()
    if together:
        place = own_device(place)
    facts = {**device_facts(place), "train": examples.describe(), "validation": validation.describe()}
    identity = {"train_sha256": examples.sha256, "validation_sha256": validation.sha256}
    with joined(place) if together else contextlib.nullcontext(ALONE) as ranks:
        if ranks.rank:
            return _follow(Session(spec, examples, validation, place, ranks), ranks, out)
        with TrainingFolder(out, spec, identity=identity, facts=facts, resume=resume) as folder:
            session = Session(spec, examples, validation, place, ranks)
            done = ranks.shared(folder.manifest["result"] if folder.finished else None)
            if done is not None:
                return TrainResult(folder=out, finished_before=True, **done)
            seconds = _run(session, ranks, folder, NoProgress() if progress is None else progress, save_seconds)
            sha256 = save_model(out, session.kept_model(), _description(spec, examples, out))
            result = ranks.shared(_result(session, sha256, seconds))
            folder.finish(result)
            return TrainResult(folder=out, **result)


def _follow(session: Session, ranks: Ranks, out: Path) -> TrainResult:
    """Train beside the first process, which alone knows the folder."""
    done = ranks.shared(None)
    if done is not None:
        return TrainResult(folder=out, finished_before=True, **done)
    state = ranks.shared(None)
    if state is not None:
        session.restore(*state)
    for _ in session.epochs(NoProgress()):
        pass
    return TrainResult(folder=out, **ranks.shared(None))


def _run(session: Session, ranks: Ranks, folder: TrainingFolder, progress: Progress, save_seconds: float) -> float:
    """Train the epochs that are missing; seconds used, those before a resume included."""
    state = folder.path / STATE / STATE_FILE
    create_folder(state.parent)
    before = _restore(session, state) if state.exists() else 0.0
    ranks.shared(session.state() if session.epoch and ranks.size > 1 else None)
    folder.write_history([epoch.to_dict() for epoch in session.history])
    started = saved = time.monotonic()
    took = 0.0
    for epoch in session.epochs(progress):
        folder.append_history(epoch.to_dict())
        now = time.monotonic()
        if now - saved >= max(save_seconds, SAVE_SHARE * took) or session.epoch == session.spec.epochs:
            tensors, facts = session.state()
            write_tensors(state, tensors, {**facts, "seconds": before + now - started})
            saved = time.monotonic()
            took = saved - now
    return before + time.monotonic() - started


def _restore(session: Session, path: Path) -> float:
    """Put a session back to a stored state; seconds used until then.

    Raises:
        ModelError: the file is damaged or of another training.
    """
    stored = read_tensors(path)
    if stored.facts.get("spec") != session.spec.digest():
        raise ModelError(f"`{path}` is of another training", hint=MOVE_IT)
    try:
        session.restore(stored.tensors, stored.facts)
        return float(stored.facts["seconds"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"`{path}` is damaged: {error}", hint=MOVE_IT) from None


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

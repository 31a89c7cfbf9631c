"""`--dry-run`: what a command would do, from the spec to what a resume would pass over. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from robench.data import load
from robench.files import read_json
from robench.models import HISTORY, TRAINING
from robench.records.record import attack_record, certify_record
from robench.records.smoothed import smoothed_record
from robench.runs.kept import differences, flatten
from robench.runs.reading import MANIFEST, read_records
from robench.specs.evaluation import AttackSpec, CertifySpec
from robench.specs.shard import Shard
from robench.specs.smoothing import SmoothingSpec
from robench.specs.training import TrainSpec
from robench.workflows.continuing import COMMANDS, run_folder, run_request
from robench.workflows.pairs import Pair, images_of
from robench.workflows.reading import heading
from robench.workflows.references import Execution

PARSERS: Mapping[type, Callable[[Mapping[str, Any]], Any]] = {
    CertifySpec: certify_record,
    AttackSpec: attack_record,
    SmoothingSpec: smoothed_record,
}


def foresee_run(
    pair: Pair,
    spec: CertifySpec | AttackSpec | SmoothingSpec,
    *,
    shard: Shard | None = None,
    out: str | PathLike[str] | None,
    execution: Execution,
) -> dict[str, Any]:
    """What a certify or attack run would compute, and what of it is there.

    Args:
        pair: the model and the images.
        spec: what is computed of them.
        shard: which of the images; None for all.
        out: run folder; None for the one that the command would choose.
        execution: the device.
    """
    request = run_request(pair, spec, {"refused": "not computed"}, [], execution.start(), shard)
    folder = run_folder(out, request, shard)
    wanted = set(images_of(pair, shard).index.tolist())
    records = read_records(folder, PARSERS[type(spec)]) if (folder / MANIFEST).exists() else ()
    done = len(wanted & {record.index for record in records})
    found = _found(folder / MANIFEST, request.spec, request.identity)
    return {**heading(COMMANDS[type(spec)]), "dry_run": True, "folder": str(folder), "spec": request.spec,
            "n": len(wanted), "n_done": done, "n_left": len(wanted) - done, **found}  # fmt: skip


def foresee_training(
    spec: TrainSpec, out: str | PathLike[str], *, data_dir: str | PathLike[str] | None, execution: Execution
) -> dict[str, Any]:
    """What a training would do, and how many of its epochs are there.

    Args:
        spec: how to train.
        out: the model folder.
        data_dir: folder with the files of the data set.
        execution: who is told of downloads.
    """
    folder = Path(out)
    images = load(spec.data, "train", data_dir=data_dir, limit=spec.limit, progress=execution.progress)
    history = folder / HISTORY
    done = len(history.read_text(encoding="utf-8").splitlines()) if history.exists() else 0
    found = _found(folder / TRAINING, spec.to_dict(), {"train_sha256": images.sha256})
    return {**heading("train"), "dry_run": True, "folder": str(folder), "spec": spec.to_dict(), "n": len(images),
            "n_done": done, "n_left": max(0, spec.epochs - done), **found}  # fmt: skip


def _found(file: Path, spec: Any, identity: Any) -> dict[str, Any]:
    """Status of what lies in a folder, and in what it differs from what is asked, so that it would be refused."""
    if not file.exists():
        return {"status": None, "differs": []}
    manifest = read_json(file)
    stored = {key: value for key, value in (manifest.get("identity") or {}).items() if key in identity}
    differs = differences(flatten(manifest.get("spec") or {}), flatten(spec)) + differences(stored, identity)
    return {"status": manifest.get("status"), "differs": differs}

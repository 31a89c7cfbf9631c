"""What a run folder is about, and what of it was done before."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robench import __version__, models
from robench.data import Dataset
from robench.devices import device_facts
from robench.errors import RunError
from robench.progress import Progress
from robench.records.record import AttackRecord, CertifyRecord
from robench.runs.folder import RunFolder, RunRequest
from robench.specs.base import digest
from robench.workflows.references import DataRef, ModelRef

ROUNDED = 1e-6
"""Share of a certified radius by which threads and processors may change it."""
MADE_AGAIN = "make the run again in another folder; `robench verify` names records that do not hold"


def run_facts(
    model: ModelRef,
    data: DataRef,
    loaded: models.LoadedModel,
    dataset: Dataset,
    audited: dict[str, Any],
    flags: list[dict[str, str]],
    device: torch.device,
) -> dict[str, Any]:
    """What a manifest says beside the spec; the two paths are where `verify` looks first."""
    data_dir = None if data.data_dir is None else str(data.data_dir.resolve())
    return {
        "model": {**loaded.describe(), "path": str(Path(model.ref).resolve())},
        "data": {**dataset.describe(), "data_dir": data_dir},
        "audit": audited,
        "flags": flags,
        **device_facts(device),
    }


def run_identity(loaded: models.LoadedModel, dataset: Dataset) -> dict[str, str]:
    """What must be equal to go on: digests of the model and the data, and the version."""
    return {**loaded.identity, "data_sha256": dataset.sha256, "robench": __version__}


def run_folder(out: Path | None, request: RunRequest) -> Path:
    """The folder asked for, or one under `runs/` that the same command finds again."""
    if out is not None:
        return out
    key = digest({"spec": request.spec, "identity": request.identity, "n": request.facts["data"]["n"]})
    model, data = (re.sub(r"[^A-Za-z0-9._-]+", "-", request.facts[part]["name"]) for part in ("model", "data"))
    return Path("runs") / f"{request.command}-{model}-{data}-{key[:8]}"


def done_before(
    run: RunFolder[Any], dataset: Dataset, records: Sequence[CertifyRecord | AttackRecord], progress: Progress
) -> set[int]:
    """The images that have a record already; the user is told how many.

    Raises:
        RunError: the folder holds images that were not asked for, two records of one, or one of another image.
    """
    done = {record.index for record in records}
    if len(done) != len(records):
        raise RunError(f"`{run.path}` holds two records of one image", hint=MADE_AGAIN)
    row_of = {index: row for row, index in enumerate(dataset.index.tolist())}
    if len(done) > len(row_of):
        raise RunError(
            f"`{run.path}` already holds {len(done)} images, more than the {len(dataset)} asked for",
            hint="raise --limit, or give another --out folder",
        )
    if strange := sorted(done - set(row_of)):
        raise RunError(f"`{run.path}` holds a record of image {strange[0]}, which was not asked for", hint=MADE_AGAIN)
    rows = np.array([row_of[record.index] for record in records], dtype=np.int64)
    for record, row in zip(records, rows.tolist(), strict=True):
        pixels = np.ascontiguousarray(dataset.batch(slice(row, row + 1)), dtype="<f4")
        if (hashlib.sha256(pixels.data).hexdigest(), int(dataset.labels[row])) != (record.input_sha256, record.label):
            raise RunError(f"the record of image {record.index} in `{run.path}` is of another image", hint=MADE_AGAIN)
    if done:
        progress.note(f"note: reused {len(done)} of {len(dataset)} records from `{run.path}`")
    return done


def check_certificates(
    run: RunFolder[Any], records: Sequence[AttackRecord], certificates: Mapping[int, CertifyRecord]
) -> None:
    """Hold the class and the radius of attack records against the certificates, which are computed anew each time.

    Raises:
        RunError: they are others by more than another order of rounding explains.
    """
    for record in records:
        known = certificates.get(record.index)
        if known is None:
            continue
        radius = known.radius("pairwise")
        if record.predicted != known.predicted or abs(record.certified_radius - radius) > ROUNDED * radius:
            text = f"the record of image {record.index} in `{run.path}` has another class or certified radius"
            raise RunError(f"{text} than the model gives", hint=MADE_AGAIN)

"""What a run folder is about, and which of its images are done already."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from robench import __version__
from robench.data import Dataset
from robench.data.dataset import input_digest
from robench.devices import device_facts
from robench.errors import RunError
from robench.progress import Progress
from robench.records.certificates import claim, region_of
from robench.records.record import AttackRecord, CertifyRecord
from robench.records.smoothed import RULE, SMOOTHED_COMMAND, SmoothedRecord
from robench.runs.environment import COMPUTING, versions
from robench.runs.folder import RunFolder, RunRequest
from robench.runs.shards import SHARD, whole_identity
from robench.specs.base import digest
from robench.specs.evaluation import AttackSpec, CertifySpec
from robench.specs.shard import Shard
from robench.specs.smoothing import SmoothingSpec
from robench.workflows.pairs import Pair
from robench.workflows.training_folder import training_facts

ROUNDED = 1e-6
"""Share of a certified radius by which threads and processors may change it."""
COMMANDS = {CertifySpec: "certify", AttackSpec: "attack", SmoothingSpec: SMOOTHED_COMMAND}
MADE_AGAIN = "make the run again in another folder; `robench verify` names records that do not hold"


def run_request(
    pair: Pair,
    spec: CertifySpec | AttackSpec | SmoothingSpec,
    bound: dict[str, Any] | None,
    flags: list[dict[str, str]],
    device: torch.device,
    shard: Shard | None = None,
) -> RunRequest:
    """What a run is, for its manifest.

    The spec and the identity (digests of the model and the data, and the version) must be equal to go on with a run.
    The facts are for readers; the two paths among them are where `robench verify` looks first.

    Args:
        pair: the model and the images.
        spec: what is computed of them.
        bound: the Lipschitz bound as plain data, or under `refused` why there is none; None where none was asked.
        flags: about the way the class is read from the outputs.
        device: where it is computed.
        shard: which of the images are computed; None for all.
    """
    loaded, dataset, data_dir = pair.loaded, pair.dataset, pair.data.data_dir
    return RunRequest(
        command=COMMANDS[type(spec)],
        spec=spec.to_dict(),
        identity={**loaded.identity, "data_sha256": dataset.sha256, "robench": __version__}
        | ({} if shard is None else {SHARD: str(shard)}),
        facts={
            "model": {**loaded.describe(), **pair.model.describe()},
            "data": {**dataset.describe(), "data_dir": None if data_dir is None else str(data_dir.resolve())},
            **({} if bound is None else {"audit": bound}),
            "certificate": _certificate(spec, bound),
            "training": training_facts(Path(pair.model.ref)),
            "flags": flags,
            **device_facts(device),
            "arithmetic": arithmetic(device),
        },
    )


def arithmetic(device: torch.device) -> dict[str, Any]:
    """What decides how sums are rounded here: processor, threads, and versions of the packages that compute.

    Args:
        device: where records are computed.
    """
    facts = {name: value for name, value in device_facts(device).items() if name != "device"}
    instructions = torch.backends.cpu.get_cpu_capability()
    return {"device": device.type, **facts, "cpu_capability": instructions, **versions(COMPUTING)}


def _certificate(spec: CertifySpec | AttackSpec | SmoothingSpec, bound: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a certificate says; attacks are held against certificates by a Lipschitz bound in float64."""
    if bound is None:
        return claim([RULE], "float32", model="smoothed")
    if "refused" in bound:
        return None
    if isinstance(spec, CertifySpec):
        return claim([*bound["rules"], *spec.rules], spec.deploy_dtype, region=region_of(spec.box))
    return claim(bound["rules"], "float64")


def run_folder(out: str | PathLike[str] | None, request: RunRequest, shard: Shard | None = None) -> Path:
    """The folder asked for, or one under `runs/` that the same command finds again; of a shard, a folder in it.

    Args:
        out: as the user named it.
        request: what the run is.
        shard: which of the images it holds.
    """
    folder = _whole_folder(request) if out is None else Path(out)
    return folder if shard is None else folder / shard.folder


def _whole_folder(request: RunRequest) -> Path:
    """A folder for all shards of a run."""
    key = digest({"spec": request.spec, "identity": whole_identity(request.identity), "n": request.facts["data"]["n"]})
    model, data = (re.sub(r"[^A-Za-z0-9._-]+", "-", request.facts[part]["name"]) for part in ("model", "data"))
    return Path("runs") / f"{request.command}-{model}-{data}-{key[:8]}"


def done_before(
    run: RunFolder[Any],
    dataset: Dataset,
    records: Sequence[CertifyRecord | AttackRecord | SmoothedRecord],
    progress: Progress,
) -> set[int]:
    """Indices of the images that have a record in the folder already, each checked to be of that very image.

    Args:
        run: the folder.
        dataset: the images that are asked for.
        records: of the folder.
        progress: told how many there are.

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
            hint="raise the limit, or name another run folder",
        )
    if strange := sorted(done - set(row_of)):
        raise RunError(f"`{run.path}` holds a record of image {strange[0]}, which was not asked for", hint=MADE_AGAIN)
    for record in records:
        row = row_of[record.index]
        image = input_digest(dataset.batch(slice(row, row + 1)))
        if (image, int(dataset.labels[row])) != (record.input_sha256, record.label):
            raise RunError(f"the record of image {record.index} in `{run.path}` is of another image", hint=MADE_AGAIN)
    if done:
        left = len(dataset) - len(done)
        rest = f"; goes on with the other {left}" if left else ""
        progress.note(f"note: reused {len(done)} of {len(dataset)} records from `{run.path}`{rest}")
    return done


def check_certificates(
    run: RunFolder[Any], records: Sequence[AttackRecord], certificates: Mapping[int, CertifyRecord]
) -> None:
    """Hold the class and the radius of attack records against the certificates, which are computed anew each time.

    Args:
        run: the folder of the attack records.
        records: of the attacks.
        certificates: by index; none for images of which nothing is proven.

    Raises:
        RunError: they are others by more than another order of rounding explains.
    """
    for record in records:
        known = certificates.get(record.index)
        if known is None:
            continue
        radius = known.certified_radius
        if record.predicted != known.predicted or abs(record.certified_radius - radius) > ROUNDED * radius:
            text = f"the record of image {record.index} in `{run.path}` has another class or certified radius"
            raise RunError(f"{text} than the model gives", hint=MADE_AGAIN)

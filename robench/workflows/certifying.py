"""`robench certify`: a certified radius for every image, kept in a run folder."""

from __future__ import annotations

import functools
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

import torch

from robench import lipschitz
from robench.certificates.certify import certify_batches, certify_records, check_deployable, none_in_float32
from robench.data import Dataset
from robench.errors import SpecError
from robench.lipschitz import LipschitzBound
from robench.models import LoadedModel
from robench.records.record import CertifyRecord, certify_record, to_line
from robench.runs.folder import RunFolder
from robench.specs.epsilon import DEFAULT_EPS, Epsilons, ascending, epsilons
from robench.specs.evaluation import CertifySpec, DeployDtype, ExtraRule
from robench.specs.shard import Shard
from robench.statistics.certified import certify_summary
from robench.workflows.continuing import done_before, run_folder, run_request
from robench.workflows.foreseeing import foresee_run
from robench.workflows.pairs import Pair, images_of, load_pair, output_flags
from robench.workflows.parts import Doing, Part, done_in_parts
from robench.workflows.references import Execution, NamedData, NamedModel, Outcome


def certify(
    model: NamedModel,
    data: NamedData,
    *,
    eps: Epsilons = DEFAULT_EPS,
    deploy_dtype: DeployDtype = "float64",
    rules: Sequence[ExtraRule] = (),
    box: Sequence[float] | Literal["data"] | None = None,
    shard: Shard | None = None,
    out: str | PathLike[str] | None = None,
    execution: Execution | None = None,
) -> Outcome:
    """Prove a radius for every image and write the records.

    Args:
        model: a path, or a `ModelRef` that says how it is read.
        data: the name of a data set, or a `DataRef` that says where it lies and how much of it is taken.
        eps: L2 radii at which certified accuracy is stated: numbers, fractions, or texts such as `36/255`. They do not
            change a record. The summary in the run folder keeps those that were ever asked there.
        deploy_dtype: arithmetic of the deployed model.
        rules: rules that take their time, beyond those that are always there.
        box: least and greatest value of an entry of the inputs that the certificates speak of, or `data` for the bounds
            of the data, which it must hold; None for all inputs.
        shard: only these of the images; `merge` joins the shards of a run.
        out: run folder; None is a folder under `runs/` named after the model, the data and the spec. A shard gets a
            folder of its own in it.
        execution: device, threads, batch size, workers, progress.

    Returns:
        The run folder, and the summary with `reused`, the number of images whose record was there before.

    Raises:
        BoundError: the model has no Lipschitz bound, so there is no certificate.
        ModelError: the model does not fit the data.
        RunError: the folder holds another run or cannot be written.
        SpecError: a radius is no finite number above 0, or the box does not hold the bounds of the data.
    """
    eps = epsilons(eps)
    execution = execution or Execution()
    device, progress = execution.start(), execution.progress
    pair = load_pair(model, data, progress)
    check_deployable(pair.loaded, deploy_dtype)
    bound = lipschitz.lipschitz_bound(pair.loaded, box=_box(box, pair.dataset.bounds))
    spec = _spec(pair, deploy_dtype, rules, bound.box)
    images = images_of(pair, shard)
    request = run_request(pair, spec, bound.to_dict(), output_flags(pair, progress), device, shard)
    with RunFolder(run_folder(out, request, shard), request, parse=certify_record, to_line=to_line) as run:
        records = run.records()
        done = done_before(run, images, records, progress)
        run.note(eps=list(ascending([*run.manifest["facts"].get("eps", ()), *eps])))
        progress.start(f"certify {pair.loaded.name} on {spec.data.name}", len(images))
        progress.advance(len(done))
        job = _Job(pair, images, bound, spec, execution, device)
        for some in _here(job, done) if execution.engine is None else _by_workers(job, done):
            for record in some.records:
                run.append(record)
                records.append(record)
            run.spend(seconds=some.seconds)
            progress.advance(len(some.records))
        progress.close()
        records = run.arrange(records, images.index.tolist())
        if deploy_dtype == "float32" and not any(record.claimed(record.largest) > 0 for record in records):
            progress.note(none_in_float32(bound))
        also = {
            "certificate": run.manifest["facts"]["certificate"],
            "seconds": round(run.spent().get("seconds", 0.0), 3),
        }
        run.finish(certify_summary(records, run.manifest["facts"]["eps"], bound.to_dict()) | also)
        shown = certify_summary(records, eps, bound.to_dict()) | also
        return Outcome(run.path, {**shown, "reused": len(done)})


def foresee_certify(
    model: NamedModel,
    data: NamedData,
    *,
    deploy_dtype: DeployDtype = "float64",
    rules: Sequence[ExtraRule] = (),
    box: Sequence[float] | Literal["data"] | None = None,
    shard: Shard | None = None,
    out: str | PathLike[str] | None = None,
    execution: Execution | None = None,
) -> dict[str, Any]:
    """What `certify` would do with the same arguments, without doing it; docs/json.md describes the keys.

    Args:
        model: as of `certify`.
        data: as of `certify`.
        deploy_dtype: as of `certify`.
        rules: as of `certify`.
        box: as of `certify`.
        shard: as of `certify`.
        out: as of `certify`.
        execution: as of `certify`.
    """
    execution = execution or Execution()
    pair = load_pair(model, data, execution.progress)
    sides = _box(box, pair.dataset.bounds)
    spec = _spec(pair, deploy_dtype, rules, None if sides is None else (float(sides[0]), float(sides[1])))
    return foresee_run(pair, spec, shard=shard, out=out, execution=execution)


def _spec(
    pair: Pair, deploy_dtype: DeployDtype, rules: Sequence[ExtraRule], box: tuple[float, float] | None
) -> CertifySpec:
    data = pair.data
    return CertifySpec(data=data.spec, split=data.split, deploy_dtype=deploy_dtype, rules=tuple(rules), box=box)


def _box(given: Sequence[float] | Literal["data"] | None, bounds: tuple[float, float]) -> Sequence[float] | None:
    """The sides of the box. Attacks search the bounds of the data: a smaller box says nothing of what they find."""
    if given == "data":
        return bounds
    if given is not None and len(given) == 2 and not (given[0] <= bounds[0] and bounds[1] <= given[1]):
        raise SpecError(
            f"the box [{given[0]}, {given[1]}] does not hold the bounds {list(bounds)} of the data",
            hint="name a larger box; `--box data` takes the bounds of the data",
        )
    return given


@dataclass(frozen=True, eq=False)
class _Job:
    """What is certified, and how.

    Fields:
        pair: the model; its images are those of all shards.
        images: those that are certified.
        bound: of the model.
        spec: by which rules.
        execution: where.
        device: the device of that.
    """

    pair: Pair
    images: Dataset
    bound: LipschitzBound
    spec: CertifySpec
    execution: Execution
    device: torch.device


@dataclass(frozen=True, eq=False)
class _Certified:
    """Records of some images, in their order, and the time that they took."""

    records: Sequence[CertifyRecord]
    seconds: float


def _here(job: _Job, done: Collection[int]) -> Iterator[_Certified]:
    """Certify in this process, batch by batch."""
    since = time.perf_counter()
    for batch in certify_batches(
        job.pair.loaded,
        job.bound,
        job.images,
        deploy_dtype=job.spec.deploy_dtype,
        rules=job.spec.rules,
        batch_size=job.execution.batch_size,
        device=job.device,
        skip=done,
    ):
        yield _Certified(batch.records(), time.perf_counter() - since)
        since = time.perf_counter()


def _by_workers(job: _Job, done: Collection[int]) -> Iterator[_Certified]:
    """Certify in other processes, part by part."""
    make = functools.partial(_certifying, job.bound, job.spec)
    return done_in_parts(make, job.pair, job.images, job.execution, job.device, skip=done)


def _certifying(bound: LipschitzBound, spec: CertifySpec, loaded: LoadedModel, device: torch.device) -> Doing:
    """What a worker does: the certificates of a spec."""

    def certified(part: Part) -> _Certified:
        since = time.perf_counter()
        records = certify_records(
            loaded, bound, part.images, deploy_dtype=spec.deploy_dtype, rules=spec.rules, device=device
        )
        return _Certified(list(records), time.perf_counter() - since)

    return certified

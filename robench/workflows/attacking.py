"""`robench attack`: the nearest adversarial example of every image, kept in a run folder."""

from __future__ import annotations

import functools
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from robench import lipschitz, models
from robench.attacks.batch import AttackedBatch
from robench.attacks.diagnostics import diagnose
from robench.attacks.directions import directions
from robench.attacks.ensemble import attack_batches, ready
from robench.attacks.gallery import make_gallery
from robench.attacks.passes import PassCounter
from robench.attacks.plan import planned
from robench.certificates.certify import certify_records
from robench.data import Dataset
from robench.data.memory import check_classes
from robench.errors import BoundError
from robench.files import write_json
from robench.progress import Progress
from robench.records.certificates import certified_radii
from robench.records.record import AttackRecord, CertifyRecord, attack_record, to_line
from robench.runs.adversarials import read_adversarials, write_adversarials
from robench.runs.directions import write_directions
from robench.runs.folder import RunFolder
from robench.runs.gallery import write_gallery
from robench.specs.epsilon import Epsilons, epsilons
from robench.specs.evaluation import AttackSpec, SuiteName
from robench.specs.shard import Shard
from robench.statistics.attacked import attack_summary
from robench.workflows.continuing import check_certificates, done_before, run_folder, run_request
from robench.workflows.foreseeing import foresee_run
from robench.workflows.pairs import Pair, images_of, load_pair, output_flags
from robench.workflows.parts import Doing, Part, done_in_parts
from robench.workflows.references import Execution, NamedData, NamedModel, Outcome

CONTRADICTIONS = "contradictions.json"
OPEN = "open (neither certified nor broken)"
"""What is told of images while they are attacked."""


def attack(
    model: NamedModel,
    data: NamedData,
    *,
    eps: Epsilons,
    suite: SuiteName = "paper",
    attacks: Mapping[str, Mapping[str, Any]] | None = None,
    full: bool = False,
    seed: int = 0,
    shard: Shard | None = None,
    out: str | PathLike[str] | None = None,
    execution: Execution | None = None,
) -> Outcome:
    """Attack every image, keep the smallest verified distance of each, and check it against its certificate.

    A model whose Lipschitz constant cannot be bounded is attacked without certificates; the manifest and the summary
    say so.

    Args:
        model: a path, or a `ModelRef` that says how it is read.
        data: the name of a data set, or a `DataRef` that says where it lies and how much of it is taken.
        eps: L2 radii in input units: numbers, fractions, or texts such as `36/255`.
        suite: which attacks, unless `attacks` names some.
        attacks: names of attacks to their options.
        full: run every attack on every image that is not certified.
        seed: of random starts, image by image.
        shard: only these of the images; `merge` joins the shards of a run.
        out: run folder; None is a folder under `runs/` named after the model, the data and the spec. A shard gets a
            folder of its own in it.
        execution: device, threads, batch size, workers, progress.

    Returns:
        The run folder, and the summary with `reused`, the number of images whose record was there before.

    Raises:
        ModelError: the model does not fit the data.
        RunError: the folder holds another run or cannot be written.
    """
    execution = execution or Execution()
    device = execution.start()
    progress = execution.progress
    pair = load_pair(model, data, progress)
    dataset = images_of(pair, shard)
    spec = _spec(pair, eps, suite, attacks, full, seed)
    job = _Job(pair, dataset, spec, _certify(pair.loaded, dataset, execution, device), execution, device)
    request = run_request(pair, spec, job.proofs.bound, output_flags(pair, progress), device, shard)
    with RunFolder(run_folder(out, request, shard), request, parse=attack_record, to_line=to_line) as run:
        records: list[AttackRecord] = run.records()
        done = done_before(run, dataset, records, progress)
        check_certificates(run, records, job.proofs.records)
        finished = run.summary() if run.finished and len(done) == len(dataset) else None
        if finished is not None:
            rates = job.rates(run, records, finished.get("flags", ()))
            return Outcome(run.path, {**finished, **rates, "reused": len(done)})
        _attack_the_rest(job, run, records, done)
        records = run.arrange(records, dataset.index.tolist())
        summary = _summarize(job, run, records)
        write_json(run.path / CONTRADICTIONS, {"contradictions": summary["contradictions"]})
        run.finish(summary)
        return Outcome(run.path, {**summary, "reused": len(done)})


def foresee_attack(
    model: NamedModel,
    data: NamedData,
    *,
    eps: Epsilons,
    suite: SuiteName = "paper",
    attacks: Mapping[str, Mapping[str, Any]] | None = None,
    full: bool = False,
    seed: int = 0,
    shard: Shard | None = None,
    out: str | PathLike[str] | None = None,
    execution: Execution | None = None,
) -> dict[str, Any]:
    """What `attack` would do with the same arguments, without doing it; docs/json.md describes the keys.

    Args:
        model: as of `attack`.
        data: as of `attack`.
        eps: as of `attack`.
        suite: as of `attack`.
        attacks: as of `attack`.
        full: as of `attack`.
        seed: as of `attack`.
        shard: as of `attack`.
        out: as of `attack`.
        execution: as of `attack`.
    """
    execution = execution or Execution()
    pair = load_pair(model, data, execution.progress)
    spec = _spec(pair, eps, suite, attacks, full, seed)
    return foresee_run(pair, spec, shard=shard, out=out, execution=execution)


def _spec(
    pair: Pair,
    eps: Epsilons,
    suite: SuiteName,
    attacks: Mapping[str, Mapping[str, Any]] | None,
    full: bool,
    seed: int,
) -> AttackSpec:
    return AttackSpec(
        data=pair.data.spec,
        split=pair.data.split,
        eps=epsilons(eps),
        suite=suite,
        attacks={name: dict(options) for name, options in (attacks or {}).items()},
        full=full,
        seed=seed,
    )


@dataclass(frozen=True, eq=False)
class _Proofs:
    """What is certified.

    Fields:
        records: certificates by index; none where the Lipschitz constant cannot be bounded.
        bound: the Lipschitz bound as plain data, or under `refused` why there is none.
    """

    records: Mapping[int, CertifyRecord]
    bound: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Job:
    """What is attacked, and how.

    Fields:
        pair: the model; its images are those of all shards.
        dataset: the images that are attacked.
        spec: with what.
        proofs: what is certified of them.
        execution: where.
        device: the device of that.
    """

    pair: Pair
    dataset: Dataset
    spec: AttackSpec
    proofs: _Proofs
    execution: Execution
    device: torch.device

    @property
    def loaded(self) -> models.LoadedModel:
        """The model."""
        return self.pair.loaded

    @property
    def radii(self) -> npt.NDArray[np.float64]:
        """Certified radii of all images."""
        return certified_radii(self.dataset.index, self.proofs.records)

    def rates(
        self, run: RunFolder[AttackRecord], records: Sequence[AttackRecord], flags: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """What a summary says by the files of the run, so that it is never older than the program that shows it."""
        summary = attack_summary(
            records,
            self.spec.eps,
            full=self.spec.full,
            audited="refused" not in self.proofs.bound,
            flags=flags,
            certificates=list(self.proofs.records.values()),
            spent=run.spent(),
        )
        return summary | {"certificate": run.manifest["facts"].get("certificate")}


def _certify(loaded: models.LoadedModel, dataset: Dataset, execution: Execution, device: torch.device) -> _Proofs:
    try:
        bound = lipschitz.lipschitz_bound(loaded)
    except BoundError as error:
        execution.progress.note(f"note: no certificates: {error.message}")
        return _Proofs({}, {"refused": error.message})
    records = certify_records(
        loaded, bound, dataset, deploy_dtype="float64", batch_size=execution.batch_size, device=device
    )
    return _Proofs({record.index: record for record in records}, bound.to_dict())


@dataclass(frozen=True, eq=False)
class _Attacked:
    """What is known of some images after all attacks.

    Fields:
        adversarials: by index.
        records: in their order.
        spent: seconds and passes; empty where a record needed none.
    """

    adversarials: Mapping[int, npt.NDArray[np.float32]]
    records: Sequence[AttackRecord]
    spent: Mapping[str, float]


def _attack_the_rest(
    job: _Job, run: RunFolder[AttackRecord], records: list[AttackRecord], done: Collection[int]
) -> None:
    """Attack the images that are not done, and write each batch down: first the adversarials, then the records."""
    progress = job.execution.progress
    progress.start(f"attack {job.loaded.name} on {job.spec.data.name}", len(job.dataset))
    progress.advance(len(done))
    for some in _here(job, done) if job.execution.engine is None else _by_workers(job, done):
        write_adversarials(run.path, some.adversarials)
        for record in some.records:
            run.append(record)
            records.append(record)
        if some.spent:
            run.spend(**some.spent)


def _here(job: _Job, done: Collection[int]) -> Iterator[_Attacked]:
    """Attack in this process, batch by batch."""
    passes, shown = PassCounter(), _Shown(job.execution.progress)
    meter = _Meter(passes)
    batches = attack_batches(
        job.loaded,
        job.dataset,
        job.radii,
        planned(job.spec, job.dataset.bounds),
        batch_size=job.execution.batch_size,
        device=job.device,
        passes=passes,
        skip=done,
        watch=shown.watch,
    )
    for batch in batches:
        shown.complete(batch)
        yield _Attacked(batch.adversarials(), batch.records(), meter.read())


def _by_workers(job: _Job, done: Collection[int]) -> Iterator[_Attacked]:
    """Attack in other processes, part by part."""
    check_classes(job.dataset.labels, job.loaded.classes)
    make = functools.partial(_attacking, job.spec, job.dataset.bounds)
    parts = done_in_parts(make, job.pair, job.dataset, job.execution, job.device, skip=done, radii=job.radii)
    for some in parts:
        job.execution.progress.advance(len(some.records))
        yield some


def _attacking(
    spec: AttackSpec, bounds: tuple[float, float], loaded: models.LoadedModel, device: torch.device
) -> Doing:
    """What a worker does: the attacks of a spec."""
    passes = PassCounter()
    ensemble = ready(loaded, planned(spec, bounds), bounds, device=device, passes=passes)
    meter = _Meter(passes)

    def attacked(part: Part) -> _Attacked:
        images = part.images
        assert part.radii is not None
        meter.restart()
        batch = ensemble.run(images.index, images.batch(slice(None)), images.labels, part.radii)
        return _Attacked(batch.adversarials(), batch.records(), meter.read())

    return attacked


class _Shown:
    """How far the attacks are. A batch counts as so many of its images as its share of the work that is done.

    Args:
        progress: who is told.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._told = 0

    def watch(self, name: str, batch: AttackedBatch, share: float) -> None:
        """Tell how far an attack of a batch is, and how many images are open at each ε.

        Args:
            name: of the attack.
            batch: what it runs on.
            share: of the work on the batch that is done.
        """
        steps = int(share * len(batch)) - self._told
        counts = batch.open().sum(axis=0).tolist()
        left = ", ".join(f"{count} at {text}" for text, count in zip(batch.eps, counts, strict=True) if count)
        self._progress.advance(steps, attack=name, **{OPEN: left or "none"})
        self._told += steps

    def complete(self, batch: AttackedBatch) -> None:
        """A batch is written down."""
        self._progress.advance(len(batch) - self._told)
        self._told = 0


def _summarize(job: _Job, run: RunFolder[AttackRecord], records: Sequence[AttackRecord]) -> dict[str, Any]:
    """Look for signs of a wrong evaluation, write the gallery, and sum up."""
    progress = job.execution.progress
    progress.start("diagnostics and gallery", 1)
    flags = diagnose(
        job.loaded,
        job.dataset,
        records,
        job.radii,
        job.spec,
        batch_size=job.execution.batch_size,
        device=job.device,
    )
    gallery = make_gallery(job.loaded, job.dataset, job.spec, device=job.device)
    write_gallery(run.path, gallery.tensors(), gallery.facts())
    points = read_adversarials(run.path)
    write_directions(run.path, directions(job.loaded, job.dataset, records, points, device=job.device))
    progress.close()
    spent = run.spent()
    return {
        **job.rates(run, records, [flag._asdict() for flag in flags]),
        "passes": {name: int(spent.get(name, 0)) for name in PassCounter().to_dict()},
        "seconds": round(spent.get("seconds", 0.0), 3),
    }


class _Meter:
    """Seconds and passes since the last reading."""

    def __init__(self, passes: PassCounter) -> None:
        self._passes = passes
        self._before, self._since = passes.amounts(), time.perf_counter()

    def restart(self) -> None:
        """Time from now on; the time since the last reading was spent on nothing."""
        self._since = time.perf_counter()

    def read(self) -> dict[str, float]:
        """The difference; nothing where no pass was made."""
        now, clock = self._passes.amounts(), time.perf_counter()
        new = {name: count - self._before.get(name, 0) for name, count in now.items()}
        spent = {"seconds": clock - self._since, **new} if now != self._before else {}
        self._before, self._since = now, clock
        return spent

"""`robench attack`: the nearest adversarial example of every image, kept in a run folder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from robench import lipschitz, models
from robench.attacks.cascade import attack_records
from robench.attacks.diagnostics import diagnose
from robench.attacks.gallery import write_gallery
from robench.attacks.passes import PassCounter
from robench.certificates.certify import certify_records
from robench.data import Dataset
from robench.errors import BoundError
from robench.files import write_json
from robench.records.record import AttackRecord, CertifyRecord, attack_record, to_line
from robench.runs.adversarials import AdversarialStore
from robench.runs.folder import RunFolder, RunRequest
from robench.specs.epsilon import split_epsilons
from robench.specs.evaluation import AttackSpec, SuiteName
from robench.statistics.attacked import attack_summary
from robench.workflows.continuing import check_certificates, done_before, run_facts, run_folder, run_identity
from robench.workflows.pairs import doubts, load_pair
from robench.workflows.references import DataRef, Execution, ModelRef, Outcome

CONTRADICTIONS = "contradictions.json"


def attack(
    model: ModelRef,
    data: DataRef,
    *,
    eps: Sequence[str],
    suite: SuiteName = "paper",
    attacks: Mapping[str, Mapping[str, Any]] | None = None,
    full: bool = False,
    seed: int = 0,
    out: Path | None = None,
    execution: Execution | None = None,
) -> Outcome:
    """Attack every image, keep the smallest verified distance of each, and check it against its certificate.

    A model that the audit cannot bound is attacked without certificates; the manifest and the summary say so.

    Args:
        model: the model.
        data: the images.
        eps: L2 radii as written, in input units.
        suite: which attacks, unless `attacks` names some.
        attacks: names of attacks to their options.
        full: run every attack on every image that is not certified.
        seed: of random starts, image by image.
        out: run folder; None is a folder under `runs/` named after the model, the data and the spec.
        execution: device, threads, batch size, progress.

    Raises:
        ModelError: the model does not fit the data.
        RunError: the folder holds another run or cannot be written.
    """
    execution = execution or Execution()
    device = execution.start()
    progress = execution.progress
    loaded, dataset = load_pair(model, data, progress)
    spec = AttackSpec(
        data=data.spec,
        split=data.split,
        eps=split_epsilons(eps),
        suite=suite,
        attacks={name: dict(options) for name, options in (attacks or {}).items()},
        full=full,
        seed=seed,
    )
    certificates, audited = _certificates(loaded, dataset, execution, device)
    facts = run_facts(model, data, loaded, dataset, audited, doubts(loaded, dataset, progress), device)
    request = RunRequest(command="attack", spec=spec.to_dict(), identity=run_identity(loaded, dataset), facts=facts)
    with RunFolder(run_folder(out, request), request, parse=attack_record, to_line=to_line) as run:
        records: list[AttackRecord] = run.records()
        done = done_before(run, dataset, records, progress)
        check_certificates(run, records, certificates)
        finished = run.summary() if run.finished and len(done) == len(dataset) else None
        if finished is not None:
            rates = _attack_rates(records, spec, finished.get("flags", ()), certificates, audited, run.spent())
            return Outcome(run.path, {**finished, **rates, "reused": len(done)})
        progress.start(f"attack {loaded.name} on {data.spec.name}", len(dataset))
        progress.advance(len(done))
        passes = PassCounter()
        meter = Meter(run, passes)
        for record in attack_records(
            loaded,
            dataset,
            certificates,
            spec,
            batch_size=execution.batch_size,
            device=device,
            skip=done,
            progress=progress,
            adversarials=AdversarialStore(run.path),
            passes=passes,
        ):
            run.append(record)
            records.append(record)
            meter.read()
        progress.start("diagnostics and gallery", 1)
        flags = diagnose(loaded, dataset, records, certificates, spec, batch_size=execution.batch_size, device=device)
        write_gallery(run.path, loaded, dataset, spec, device=device)
        progress.close()
        spent = run.spent()
        summary = _attack_rates(records, spec, [flag._asdict() for flag in flags], certificates, audited, spent) | {
            "passes": {name: int(spent.get(name, 0)) for name in passes.to_dict()},
            "seconds": round(spent.get("seconds", 0.0), 3),
        }
        write_json(run.path / CONTRADICTIONS, {"contradictions": summary["contradictions"]})
        run.finish(summary)
        return Outcome(run.path, {**summary, "reused": len(done)})


def _attack_rates(
    records: Sequence[AttackRecord],
    spec: AttackSpec,
    flags: Sequence[Mapping[str, Any]],
    certificates: Mapping[int, CertifyRecord],
    audited: Mapping[str, Any],
    spent: Mapping[str, float],
) -> dict[str, Any]:
    """What a summary says by the files of the run, so that it is never older than the program that shows it."""
    return attack_summary(
        records,
        spec.eps,
        full=spec.full,
        audited="refused" not in audited,
        flags=flags,
        certificates=list(certificates.values()),
        spent=spent,
    )


class Meter:
    """Notes in the run folder what attacks have spent, whenever passes were made since the last note."""

    def __init__(self, run: RunFolder[AttackRecord], passes: PassCounter) -> None:
        self._run, self._passes = run, passes
        self._before, self._since = passes.amounts(), time.perf_counter()

    def read(self) -> None:
        """Note the difference."""
        now, clock = self._passes.amounts(), time.perf_counter()
        if now != self._before:
            new = {name: count - self._before.get(name, 0) for name, count in now.items()}
            self._run.spend(seconds=clock - self._since, **new)
            self._before, self._since = now, clock


def _certificates(
    loaded: models.LoadedModel, dataset: Dataset, execution: Execution, device: torch.device
) -> tuple[dict[int, CertifyRecord], dict[str, Any]]:
    """Certificates by index and the audit as plain data; none and the reason where the audit refuses the model."""
    try:
        bounds = lipschitz.bound_module(loaded.module, loaded.input_shape)
    except BoundError as error:
        execution.progress.note(f"note: no certificates: {error.message}")
        return {}, {"refused": error.message}
    records = certify_records(
        loaded, bounds, dataset, deploy_dtype="float64", batch_size=execution.batch_size, device=device
    )
    return {record.index: record for record in records}, bounds.to_dict()

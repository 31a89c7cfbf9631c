"""`robench certify`: a certified radius for every image, kept in a run folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from robench import lipschitz
from robench.certificates.certify import certify_records, check_deployable
from robench.display import upper
from robench.records.record import CertifyRecord, certify_record, to_line
from robench.runs.folder import RunFolder, RunRequest
from robench.specs.epsilon import DEFAULT_EPS, ascending
from robench.specs.evaluation import CertifySpec, DeployDtype
from robench.statistics.certified import certify_summary
from robench.workflows.continuing import done_before, run_facts, run_folder, run_identity
from robench.workflows.pairs import load_pair, output_flags
from robench.workflows.references import DataRef, Execution, ModelRef, Outcome


def certify(
    model: ModelRef,
    data: DataRef,
    *,
    eps: Sequence[str] = DEFAULT_EPS,
    deploy_dtype: DeployDtype = "float64",
    out: Path | None = None,
    execution: Execution | None = None,
) -> Outcome:
    """Prove a radius for every image and write the records.

    Args:
        model: the model.
        data: the images.
        eps: radii at which certified accuracy is stated; they do not change a record. The summary in the run folder
            keeps those that were ever asked there.
        deploy_dtype: arithmetic of the deployed model.
        out: run folder; None is a folder under `runs/` named after the model, the data and the spec.
        execution: device, threads, batch size, progress.

    Raises:
        BoundError: the model has no Lipschitz bound, so there is no certificate.
        ModelError: the model does not fit the data.
        RunError: the folder holds another run or cannot be written.
    """
    execution = execution or Execution()
    device = execution.start()
    loaded, dataset = load_pair(model, data, execution.progress)
    check_deployable(loaded, deploy_dtype)
    bounds = lipschitz.bound_module(loaded.module, loaded.input_shape)
    spec = CertifySpec(data=data.spec, split=data.split, deploy_dtype=deploy_dtype)
    flags = output_flags(loaded, dataset, execution.progress)
    facts = run_facts(model, data, loaded, dataset, bounds.to_dict(), flags, device)
    request = RunRequest(command="certify", spec=spec.to_dict(), identity=run_identity(loaded, dataset), facts=facts)
    with RunFolder(run_folder(out, request), request, parse=certify_record, to_line=to_line) as run:
        records: list[CertifyRecord] = run.records()
        done = done_before(run, dataset, records, execution.progress)
        known = run.manifest["facts"]
        run.note(eps=list(ascending([*known.get("eps", ()), *eps])))
        execution.progress.start(f"certify {loaded.name} on {data.spec.name}", len(dataset))
        execution.progress.advance(len(done))
        started = time.perf_counter()
        for record in certify_records(
            loaded,
            bounds,
            dataset,
            deploy_dtype=deploy_dtype,
            batch_size=execution.batch_size,
            device=device,
            skip=done,
        ):
            run.append(record)
            records.append(record)
            execution.progress.advance()
        if len(done) < len(dataset):
            run.spend(seconds=time.perf_counter() - started)
        execution.progress.close()
        if deploy_dtype == "float32" and not any(record.radius_pairwise > 0 for record in records):
            execution.progress.note(_why_none(bounds))
        kept, seconds = run.manifest["facts"], {"seconds": round(run.spent().get("seconds", 0.0), 3)}
        audited = bounds.to_dict()
        run.finish(certify_summary(records, kept["eps"], audited) | seconds)
        shown = certify_summary(records, eps, audited) | seconds
        return Outcome(run.path, {**shown, "reused": len(done)})


def _why_none(bounds: lipschitz.LipschitzBound) -> str:
    """Why no image has a certificate of the float32 network."""
    slope, offset = bounds.rounding["float32"]
    return (
        f"no image is certified in float32: its logits are only known to lie within {upper(slope, 3)}·‖x‖ + "
        f"{upper(offset, 3)} of the float64 ones, or have another class; where `forward` computes weights (SVD, QR, "
        "thresholds), store them, or use --deploy-dtype float64"
    )

"""`robench certify --method smoothing`: certificates of a smoothed classifier, kept in a run folder of its own kind."""

from __future__ import annotations

import time
from collections.abc import Iterable
from os import PathLike

from robench.files import write_atomic
from robench.progress import Progress
from robench.records.smoothed import (
    SmoothedCertificates,
    SmoothedRecord,
    confidence,
    smoothed_line,
    smoothed_record,
)
from robench.runs.folder import RunFolder
from robench.runs.tsv import as_tsv, rows_of
from robench.smoothing.certify import certify_each, check_range
from robench.specs.epsilon import DEFAULT_EPS, Epsilons, ascending, epsilons
from robench.specs.smoothing import Sampling, SmoothingSpec
from robench.statistics.smoothed import smoothed_summary
from robench.workflows.continuing import done_before, run_folder, run_request
from robench.workflows.pairs import load_pair, output_flags
from robench.workflows.references import Execution, NamedData, NamedModel, Outcome

TABLE = "smoothed.tsv"


def certify_smoothed(
    model: NamedModel,
    data: NamedData,
    *,
    sigma: float,
    n: int = 10_000,
    n0: int = 100,
    alpha: float = 0.001,
    seed: int = 0,
    eps: Epsilons = DEFAULT_EPS,
    out: str | PathLike[str] | None = None,
    execution: Execution | None = None,
) -> Outcome:
    """Certify the smoothed classifier of a model at every image and write the records.

    Args:
        model: a path, or a `ModelRef` that says how it is read.
        data: images in [0, 1]: the name of a data set, or a `DataRef`.
        sigma: standard deviation of the noise, in the units of the images.
        n: draws an image that estimate the frequency of its class.
        n0: draws an image that choose the class.
        alpha: chance at most that the certificate of an image is false.
        seed: of the noise.
        eps: L2 radii at which certified accuracy is stated; they do not change a record.
        out: run folder; None is a folder under `runs/` named after the model, the data and the spec.
        execution: device, threads, progress; the batch size does not matter.

    Returns:
        The run folder, and the summary with `reused`, the number of images whose record was there before. Beside
        the summary lies `smoothed.tsv`, in the layout of locuslab/smoothing.

    Raises:
        DataError: the images are not in [0, 1].
        ModelError: the model does not fit the data.
        RunError: the folder holds another run or cannot be written.
        SpecError: a radius or a setting of the noise does not serve.
    """
    eps = epsilons(eps)
    sampling = Sampling(sigma=sigma, n=n, n0=n0, alpha=alpha, seed=seed)
    execution = execution or Execution()
    device, progress = execution.start(), execution.progress
    pair = load_pair(model, data, progress)
    check_range(*pair.dataset.bounds)
    spec = SmoothingSpec(data=pair.data.spec, split=pair.data.split, sampling=sampling)
    request = run_request(pair, spec, None, output_flags(pair, progress), device)
    with RunFolder(run_folder(out, request), request, parse=smoothed_record, to_line=smoothed_line) as run:
        records = run.records()
        done = done_before(run, pair.dataset, records, progress)
        run.note(eps=list(ascending([*run.manifest["facts"].get("eps", ()), *eps])))
        progress.start(f"certify {pair.loaded.name}, smoothed, on {spec.data.name}", len(pair.dataset))
        progress.advance(len(done))
        missing = certify_each(pair.loaded, pair.dataset, sampling, device=device, skip=done)
        records += _written(missing, run, progress)
        progress.close()
        progress.note(_claim(len(records), alpha))
        spent = run.spent().get("seconds", 0.0)
        more = {"certificate": run.manifest["facts"]["certificate"], "seconds": round(spent, 3)}
        write_atomic(run.path / TABLE, as_tsv(rows_of(records), spent / len(records)))
        run.finish(smoothed_summary(records, run.manifest["facts"]["eps"], sampling) | more)
        shown = smoothed_summary(records, eps, sampling) | more
        return Outcome(run.path, {**shown, "reused": len(done)})


def _written(
    missing: Iterable[SmoothedCertificates], run: RunFolder[SmoothedRecord], progress: Progress
) -> list[SmoothedRecord]:
    """Records that are computed now, each written down at once, and the time that each took."""
    records: list[SmoothedRecord] = []
    started = time.perf_counter()
    for certificate in missing:
        (record,) = certificate.records()
        run.append(record)
        records.append(record)
        now = time.perf_counter()
        run.spend(seconds=now - started)
        started = now
        progress.advance()
    return records


def _claim(n: int, alpha: float) -> str:
    """What holds with which probability."""
    return (
        f"each radius is of the smoothed classifier and holds with probability {1 - alpha:g}; all {n} hold together "
        f"with probability {confidence(n, alpha):g} or more (for {1 - alpha:g}, give --alpha {alpha / n:.2g})"
    )

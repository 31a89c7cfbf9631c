"""`robench certify --method smoothing`: certificates of a smoothed classifier, kept in a run folder of its own kind."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Collection, Iterable, Iterator
from os import PathLike
from typing import Any

import torch

from robench.data import Dataset
from robench.files import write_atomic
from robench.models import LoadedModel
from robench.records.smoothed import SmoothedRecord, confidence, smoothed_line, smoothed_record
from robench.runs.folder import RunFolder
from robench.runs.tsv import as_tsv, rows_of
from robench.smoothing.certify import certify_each, check_range
from robench.specs.epsilon import DEFAULT_EPS, Epsilons, ascending, epsilons
from robench.specs.shard import Shard
from robench.specs.smoothing import Sampling, SmoothingSpec
from robench.statistics.smoothed import smoothed_summary
from robench.workflows.continuing import done_before, run_folder, run_request
from robench.workflows.foreseeing import foresee_run
from robench.workflows.pairs import Pair, images_of, load_pair, output_flags
from robench.workflows.parts import Doing, Part, done_in_parts
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
    shard: Shard | None = None,
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
        shard: only these of the images; `merge` joins the shards of a run.
        out: run folder; None is a folder under `runs/` named after the model, the data and the spec. A shard gets a
            folder of its own in it.
        execution: device, threads, workers, progress; the batch size does not matter.

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
    spec = _spec(pair, sampling)
    images = images_of(pair, shard)
    request = run_request(pair, spec, None, output_flags(pair, progress), device, shard)
    with RunFolder(run_folder(out, request, shard), request, parse=smoothed_record, to_line=smoothed_line) as run:
        records = run.records()
        done = done_before(run, images, records, progress)
        run.note(eps=list(ascending([*run.manifest["facts"].get("eps", ()), *eps])))
        progress.start(f"certify {pair.loaded.name}, smoothed, on {spec.data.name}", len(images))
        progress.advance(len(done))
        if execution.engine is None:
            found: Iterable[tuple[SmoothedRecord, float]] = _certified(pair.loaded, images, sampling, device, done)
        else:
            make = functools.partial(_certifying, sampling)
            parts = done_in_parts(make, pair, images, execution, device, skip=done)
            found = itertools.chain.from_iterable(parts)
        for record, seconds in found:
            run.append(record)
            records.append(record)
            run.spend(seconds=seconds)
            progress.advance()
        progress.close()
        records = run.arrange(records, images.index.tolist())
        progress.note(_claim(len(records), alpha))
        spent = run.spent().get("seconds", 0.0)
        more = {"certificate": run.manifest["facts"]["certificate"], "seconds": round(spent, 3)}
        write_atomic(run.path / TABLE, as_tsv(rows_of(records), spent / len(records)))
        run.finish(smoothed_summary(records, run.manifest["facts"]["eps"], sampling) | more)
        shown = smoothed_summary(records, eps, sampling) | more
        return Outcome(run.path, {**shown, "reused": len(done)})


def foresee_smoothed(
    model: NamedModel,
    data: NamedData,
    *,
    sigma: float,
    n: int = 10_000,
    n0: int = 100,
    alpha: float = 0.001,
    seed: int = 0,
    shard: Shard | None = None,
    out: str | PathLike[str] | None = None,
    execution: Execution | None = None,
) -> dict[str, Any]:
    """What `certify_smoothed` would do with the same arguments, without doing it; docs/json.md describes the keys.

    Args:
        model: as of `certify_smoothed`.
        data: as of `certify_smoothed`.
        sigma: as of `certify_smoothed`.
        n: as of `certify_smoothed`.
        n0: as of `certify_smoothed`.
        alpha: as of `certify_smoothed`.
        seed: as of `certify_smoothed`.
        shard: as of `certify_smoothed`.
        out: as of `certify_smoothed`.
        execution: as of `certify_smoothed`.
    """
    sampling = Sampling(sigma=sigma, n=n, n0=n0, alpha=alpha, seed=seed)
    execution = execution or Execution()
    pair = load_pair(model, data, execution.progress)
    check_range(*pair.dataset.bounds)
    return foresee_run(pair, _spec(pair, sampling), shard=shard, out=out, execution=execution)


def _spec(pair: Pair, sampling: Sampling) -> SmoothingSpec:
    return SmoothingSpec(data=pair.data.spec, split=pair.data.split, sampling=sampling)


def _certified(
    loaded: LoadedModel, images: Dataset, sampling: Sampling, device: torch.device, done: Collection[int]
) -> Iterator[tuple[SmoothedRecord, float]]:
    """Records of the images that are not done, and the seconds that each took."""
    started = time.perf_counter()
    for certificate in certify_each(loaded, images, sampling, device=device, skip=done):
        (record,) = certificate.records()
        yield record, time.perf_counter() - started
        started = time.perf_counter()


def _certifying(sampling: Sampling, loaded: LoadedModel, device: torch.device) -> Doing:
    """What a worker does: certificates of the smoothed model."""

    def certified(part: Part) -> list[tuple[SmoothedRecord, float]]:
        return list(_certified(loaded, part.images, sampling, device, ()))

    return certified


def _claim(n: int, alpha: float) -> str:
    """What holds with which probability."""
    return (
        f"each radius is of the smoothed classifier and holds with probability {1 - alpha:g}; all {n} hold together "
        f"with probability {confidence(n, alpha):g} or more (for {1 - alpha:g}, give --alpha {alpha / n:.2g})"
    )

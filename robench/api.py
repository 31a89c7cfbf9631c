"""The joins: model and data in, run folder and summary out. What the command line calls, and a library user may.

Every function takes names and paths, does one of robench's commands whole, and is resumable: called again with the
same arguments it goes on where it stopped, and called on finished work it only reads it.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from robench import __version__, checkpoint, lipschitz, recipes, training
from robench.attacks.cascade import attack_records
from robench.attacks.chunk import certified_radius
from robench.attacks.gallery import write_gallery
from robench.attacks.passes import PassCounter
from robench.attacks.summary import summarize
from robench.certificates import certify_records
from robench.checkpoint.outputs import LOOKED_AT
from robench.data import Dataset, TwoClasses, load, two_classes
from robench.devices import device_facts, resolve_device
from robench.diagnostics import diagnose
from robench.errors import AuditError, ModelError, RunError, SpecError
from robench.potential import compare, level_map, measure
from robench.progress import NoProgress, Progress
from robench.records import AttackRecord, CertifyRecord, attack_record, certify_record, to_line
from robench.reexecution import reexecute
from robench.rounding import upper
from robench.runs import RunFolder, RunRequest, read_json, write_json
from robench.specs.base import digest
from robench.specs.data import DataSpec, Split
from robench.specs.epsilon import ascending, split_epsilons
from robench.specs.evaluation import AttackSpec, CertifySpec, DeployDtype, SuiteName
from robench.specs.training import TrainSpec
from robench.summaries import certify_summary
from robench.transport import hinge_transport
from robench.witnesses import WitnessStore

MEASURED = 2000
"""Training images from which the distance of two classes is taken."""
CONTRADICTIONS = "contradictions.json"
ROUNDED = 1e-6
"""Share of a certified radius by which threads and processors may change it."""
MADE_AGAIN = "make the run again in another folder; `robench verify` names records that do not hold"
DEFAULT_EPS = ("36/255", "0.5", "1", "1.58", "2", "3")


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Where and how work is done; not part of what a run is, so a run can go on with another one.

    Another device, number of threads or size of batches sums in another order: certified radii then differ in their
    last digits, and attacks on another kind of device may take another path.

    Fields:
        device: `auto`, `cpu` or `cuda:N`.
        threads: CPU threads; None leaves torch's choice.
        batch_size: images held in memory at a time.
        progress: who is told how far the work is.
    """

    device: str = "auto"
    threads: int | None = None
    batch_size: int = 500
    progress: Progress = field(default_factory=NoProgress)

    def start(self) -> torch.device:
        """Set the threads and find the device."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        return resolve_device(self.device)


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """A model as the user names it: a model folder, a `.pt2`, an `.onnx` file, or `FILE.py:factory`.

    Fields:
        threshold: of one output: class 1 iff it is above; None to tell it from the model.
    """

    ref: str
    weights: Path | None = None
    input_shape: tuple[int, ...] | None = None
    threshold: float | None = None

    def load(
        self, *, progress: Progress | None = None, shape_of_data: Callable[[], tuple[int, ...]] | None = None
    ) -> checkpoint.LoadedModel:
        """Read it; what a user should know of how it was read is noted.

        Args:
            progress: who is told.
            shape_of_data: gives the shape of an input where neither the user nor the model tells it.
        """
        loaded = checkpoint.load_model(
            self.ref,
            weights=self.weights,
            input_shape=self.input_shape,
            shape_of_data=shape_of_data,
            threshold=self.threshold,
        )
        for note in loaded.notes:
            (progress or NoProgress()).note(f"note: {note}")
        return loaded


@dataclass(frozen=True, kw_only=True)
class DataRef:
    """Images as the user names them: which set, which split, where it lies, how many."""

    spec: DataSpec
    split: Split = "test"
    data_dir: Path | None = None
    limit: int | None = None

    def load(self, progress: Progress) -> Dataset:
        """Read it."""
        return load(self.spec, self.split, data_dir=self.data_dir, limit=self.limit, progress=progress)


class Outcome(NamedTuple):
    """A finished command.

    Fields:
        folder: where its files are.
        summary: what `--json` prints: `summary.json` for what was asked, and for certify and attack `reused`, the
            number of images whose record was there before. That is of this call, so it is not in the run folder.
    """

    folder: Path
    summary: dict[str, Any]


def audit(model: ModelRef, *, progress: Progress | None = None) -> dict[str, Any]:
    """Upper bound of the Lipschitz constant of a model, per layer and whole, with the largest slope found.

    Args:
        model: the model.
        progress: who is told what a user should know of how the model was read.

    Raises:
        AuditError: an operation has no rule; it is named.
    """
    loaded = model.load(progress=progress)
    result = lipschitz.audit(loaded.module, loaded.input_shape)
    return {"model": loaded.name, **loaded.identity, **result.to_dict()}


def potential(
    model: ModelRef,
    data: DataRef,
    *,
    out: Path,
    alpha: float | None = None,
    margin: float | None = None,
    execution: Execution | None = None,
) -> Outcome:
    """Look at a two-class model as a transport potential, and hold it against the optimum of Theorem 2.

    Args:
        model: of one logit, with an audit.
        data: two classes.
        out: folder for `potential.json`, `outputs.csv` and the figures.
        alpha: weight of the hinge in Theorem 2; None for that of the training.
        margin: of that hinge; None for that of the training.
        execution: where.

    Raises:
        ModelError: the model has more than one logit, or does not fit the data.
        AuditError: the model has no bound.
        SpecError: alpha or margin is not given, and the model was not trained by hKR or KR.
        DataError: a class has no example, or there are too many for the linear program.
        RunError: the folder cannot be written.
    """
    from robench.reporting import write_potential  # plotting libraries

    execution = execution or Execution()
    execution.start()
    alpha, margin = _dual_terms(model, alpha, margin)
    loaded, dataset = _load_pair(model, data, execution.progress)
    if loaded.outputs != 1:
        raise ModelError(
            f"`{model.ref}` has {loaded.outputs} logits, and the transport problem is one of two classes",
            hint="train on two classes, such as `--data mnist:0-8`",
        )
    bounds = lipschitz.audit(loaded.module, loaded.input_shape)
    found = measure(loaded.module, dataset)
    points = dataset.batch(slice(None)).reshape(len(dataset), -1).astype(float)
    optimum = hinge_transport(points[found.positive], points[~found.positive], alpha=alpha, margin=margin)
    summary = {
        "command": "potential",
        "model": loaded.describe(),
        "data": dataset.describe(),
        **found.describe(),
        "duality": compare(found, optimum, bounds, alpha=alpha, margin=margin),
    }
    levels = level_map(loaded.module, points) if dataset.shape == (2,) else None
    write_potential(out, summary, found, points, levels, dataset.class_names)
    return Outcome(out, summary)


def train_spec(
    recipe: str,
    data: DataSpec,
    *,
    data_dir: Path | None = None,
    arch: str | None = None,
    epochs: int | None = None,
    seed: int = 0,
    changes: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> TrainSpec:
    """The full spec of a recipe on a data set; input shape and classes come from the data.

    Raises:
        SpecError: an unknown recipe, architecture or field, or a value of the wrong type.
        DataError: the data cannot be read.
    """
    recipes.check_recipe(recipe)  # refused before any data is read
    sample = load(data, "train", data_dir=data_dir, limit=1, progress=progress)
    apart = _apart(data, data_dir) if sample.classes == 2 else None
    return recipes.build_spec(
        recipe,
        data=data,
        input_shape=sample.shape,
        classes=sample.classes,
        arch=arch,
        epochs=epochs,
        seed=seed,
        overrides=changes,
        apart=apart,
    )


def train(spec: TrainSpec, out: Path, *, data_dir: Path | None = None, execution: Execution | None = None) -> Outcome:
    """Train a model and write its model folder; a finished folder of the same spec is a no-op.

    Raises:
        DataError: the data cannot be read or do not fit the spec.
        RunError: the folder cannot be written or holds another training.
        SpecError: the loss is no longer finite.
    """
    execution = execution or Execution()
    device = execution.start()
    progress = execution.progress
    examples = load(spec.data, "train", data_dir=data_dir, limit=spec.limit, progress=progress)
    held_out = load(spec.data, "validation", data_dir=data_dir, progress=progress)
    result = training.fit(spec, examples, held_out, out=out, device=device, progress=progress)
    progress.close()
    return Outcome(out, {"command": "train", **dataclasses.asdict(result), "folder": str(out)})


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
        AuditError: the model has no Lipschitz bound, so there is no certificate.
        ModelError: the model does not fit the data.
        RunError: the folder holds another run or cannot be written.
    """
    execution = execution or Execution()
    device = execution.start()
    loaded, dataset = _load_pair(model, data, execution.progress)
    if deploy_dtype == "float32" and loaded.link is not None and loaded.link.operations:
        raise ModelError(
            f"`{model.ref}` ends in {' and '.join(loaded.link.operations)}, which in float32 may round two classes to "
            "the same number, so there is no certificate of the float32 network",
            hint="deploy the network without it (it changes no class) and certify that, or use --deploy-dtype float64",
        )
    bounds = lipschitz.audit(loaded.module, loaded.input_shape)
    spec = CertifySpec(data=data.spec, split=data.split, deploy_dtype=deploy_dtype)
    flags = _doubts(loaded, dataset, execution.progress)
    facts = _facts(model, data, loaded, dataset, bounds.to_dict(), flags, device)
    request = RunRequest(command="certify", spec=spec.to_dict(), identity=_identity(loaded, dataset), facts=facts)
    with RunFolder(_folder(out, request), request, parse=certify_record, to_line=to_line) as run:
        records: list[CertifyRecord] = run.records()
        done = _done(run, dataset, records, execution.progress)
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
    loaded, dataset = _load_pair(model, data, progress)
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
    facts = _facts(model, data, loaded, dataset, audited, _doubts(loaded, dataset, progress), device)
    request = RunRequest(command="attack", spec=spec.to_dict(), identity=_identity(loaded, dataset), facts=facts)
    with RunFolder(_folder(out, request), request, parse=attack_record, to_line=to_line) as run:
        records: list[AttackRecord] = run.records()
        done = _done(run, dataset, records, progress)
        _check_certificates(run, records, certificates)
        finished = run.summary() if run.finished_before and len(done) == len(dataset) else None
        if finished is not None:
            rates = _attack_rates(records, spec, finished.get("flags", ()), certificates, audited, run.spent())
            return Outcome(run.path, {**finished, **rates, "reused": len(done)})
        progress.start(f"attack {loaded.name} on {data.spec.name}", len(dataset))
        progress.advance(len(done))
        passes = PassCounter()
        meter = _Meter(run, passes)
        for record in attack_records(
            loaded,
            dataset,
            certificates,
            spec,
            batch_size=execution.batch_size,
            device=device,
            skip=done,
            progress=progress,
            witnesses=WitnessStore(run.path),
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


def report(runs: Sequence[Path], out: Path) -> Path:
    """Write the report over run folders; the path of its HTML page.

    Raises:
        RunError: there is no run, or the report cannot be written.
    """
    from robench.reporting import build_report  # plotting libraries, which no other command needs

    return build_report(runs, out)


def verify(run: Path, *, model: Path | None = None, data_dir: Path | None = None) -> dict[str, Any]:
    """Re-execute the certificates and witnesses of a run in numpy float64; counts, and a text for each failure.

    Raises:
        RunError: the run, the model or the data are missing, or not those of the run.
    """
    return reexecute(run, model=model, data_dir=data_dir)


def _attack_rates(
    records: Sequence[AttackRecord],
    spec: AttackSpec,
    flags: Sequence[Mapping[str, Any]],
    certificates: Mapping[int, CertifyRecord],
    audited: Mapping[str, Any],
    spent: Mapping[str, float],
) -> dict[str, Any]:
    """What a summary says by the files of the run, so that it is never older than the program that shows it."""
    return summarize(
        records,
        spec.eps,
        full=spec.full,
        audited="refused" not in audited,
        flags=flags,
        certificates=list(certificates.values()),
        spent=spent,
    )


class _Meter:
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
    loaded: checkpoint.LoadedModel, dataset: Dataset, execution: Execution, device: torch.device
) -> tuple[dict[int, CertifyRecord], dict[str, Any]]:
    """Certificates by index and the audit as plain data; none and the reason where the audit refuses the model."""
    try:
        bounds = lipschitz.audit(loaded.module, loaded.input_shape)
    except AuditError as error:
        execution.progress.note(f"note: no certificates: {error.message}")
        return {}, {"refused": error.message}
    records = certify_records(
        loaded, bounds, dataset, deploy_dtype="float64", batch_size=execution.batch_size, device=device
    )
    return {record.index: record for record in records}, bounds.to_dict()


def _facts(
    model: ModelRef,
    data: DataRef,
    loaded: checkpoint.LoadedModel,
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


def _apart(data: DataSpec, data_dir: Path | None) -> TwoClasses:
    """How far apart two classes lie on drawn training images, or on all where the draw shows one class only."""
    drawn = load(dataclasses.replace(data, subset="draw"), "train", data_dir=data_dir, limit=MEASURED)
    both = len(set(drawn.labels.tolist())) == 2
    return two_classes(drawn if both else load(data, "train", data_dir=data_dir))


def _dual_terms(model: ModelRef, alpha: float | None, margin: float | None) -> tuple[float, float]:
    """Alpha and margin as asked, or as the model was trained."""
    trained: Mapping[str, Any] = {}
    folder = Path(model.ref)
    if (alpha is None or margin is None) and (folder / checkpoint.TRAINING).exists():
        loss = TrainSpec.from_dict(read_json(folder / checkpoint.TRAINING)["spec"]).loss.to_dict()
        trained = {"hkr": loss, "kr": {"alpha": 0.0, "margin": 1.0}}.get(loss["type"], {})
    alpha = trained.get("alpha") if alpha is None else alpha
    margin = trained.get("margin") if margin is None else margin
    if alpha is None or margin is None:
        raise SpecError(
            f"`{model.ref}` was not trained with the hKR or KR loss, so the problem of Theorem 2 is open",
            hint="give --alpha and --margin",
        )
    return alpha, margin


def _load_pair(model: ModelRef, data: DataRef, progress: Progress) -> tuple[checkpoint.LoadedModel, Dataset]:
    """The model and the data, once it is known that they fit each other."""
    read = functools.cache(lambda: data.load(progress))
    loaded = model.load(progress=progress, shape_of_data=lambda: read().shape)
    dataset = read()
    if dataset.shape != loaded.input_shape:
        raise ModelError(
            f"`{model.ref}` takes inputs of shape {loaded.input_shape}, but the images of `{data.spec.name}` "
            f"have shape {dataset.shape}",
            hint="name the data set that the model was trained on, or train a model on this one",
        )
    if dataset.classes != loaded.classes:
        raise ModelError(
            f"`{model.ref}` tells {loaded.classes} classes apart, but `{data.spec.name}` has {dataset.classes}",
            hint="name the data set that the model was trained on (two classes of a set are `mnist:0-8`); if the model "
            "has outputs that are never used, return the used ones alone: `logits[:, :2]`",
        )
    if not loaded.function.traced:
        progress.note(
            f"note: what `{loaded.name}` runs depends on values of its input; it is told from other models by its "
            "source, its weights and constants, and its behaviour at a few probes"
        )
    if loaded.trained_on not in (None, data.spec.name):
        progress.note(f"note: `{loaded.name}` was trained on `{loaded.trained_on}`, not on `{data.spec.name}`")
    return loaded, dataset


def _doubts(loaded: checkpoint.LoadedModel, dataset: Dataset, progress: Progress) -> list[dict[str, str]]:
    """Flags about the way the class is read from the outputs, each also said at once."""
    found = checkpoint.doubts(loaded, dataset.batch(slice(0, LOOKED_AT)), dataset.labels[:LOOKED_AT])
    for doubt in found:
        progress.note(f"flag {doubt.name}: {doubt.message}")
    return [doubt._asdict() for doubt in found]


def _why_none(bounds: lipschitz.Audit) -> str:
    """Why no image has a certificate of the float32 network."""
    slope, offset = bounds.rounding["float32"]
    return (
        f"no image is certified in float32: its logits are only known to lie within {upper(slope, 3)}·‖x‖ + "
        f"{upper(offset, 3)} of the float64 ones, or have another class; where `forward` computes weights (SVD, QR, "
        "thresholds), store them, or use --deploy-dtype float64"
    )


def _identity(loaded: checkpoint.LoadedModel, dataset: Dataset) -> dict[str, str]:
    return {**loaded.identity, "data_sha256": dataset.sha256, "robench": __version__}


def _folder(out: Path | None, request: RunRequest) -> Path:
    """The folder asked for, or one under `runs/` that the same command finds again."""
    if out is not None:
        return out
    key = digest({"spec": request.spec, "identity": request.identity, "n": request.facts["data"]["n"]})
    model, data = (re.sub(r"[^A-Za-z0-9._-]+", "-", request.facts[part]["name"]) for part in ("model", "data"))
    return Path("runs") / f"{request.command}-{model}-{data}-{key[:8]}"


def _done(
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


def _check_certificates(
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
        radius = certified_radius(known)
        if record.predicted != known.predicted or abs(record.certified_radius - radius) > ROUNDED * radius:
            text = f"the record of image {record.index} in `{run.path}` has another class or certified radius"
            raise RunError(f"{text} than the model gives", hint=MADE_AGAIN)

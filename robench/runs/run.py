"""A run folder as it is on disk, checked before anything is computed with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from robench.errors import RunError
from robench.files import read_json
from robench.records.record import READABLE_VERSIONS, AttackRecord, CertifyRecord, attack_record, certify_record
from robench.records.shapes import misfit
from robench.records.smoothed import SMOOTHED_COMMAND, SmoothedRecord, smoothed_record
from robench.runs import shapes as run_shapes
from robench.runs.facts import (
    BoundFacts,
    CertificateFacts,
    DataFacts,
    ModelFacts,
    TrainingFacts,
    bound_facts,
    certificate_facts,
    data_facts,
    model_facts,
    training_facts,
)
from robench.runs.reading import MANIFEST, SUMMARY, check_unchanged, find_runs, read_effort, read_records
from robench.runs.shards import shard_of, whole_identity
from robench.specs.base import digest

R = TypeVar("R", CertifyRecord, AttackRecord, SmoothedRecord)
Parsers = Mapping[str, Callable[[Mapping[str, Any]], Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Run(Generic[R]):
    """One run folder.

    Fields:
        name: last part of its path, or as many as tell it from the others.
        summary: empty while the run is not finished.
        spent: sums of what was noted in `effort.jsonl`, whether the run is finished or not.
    """

    folder: Path
    name: str
    manifest: Mapping[str, Any]
    summary: Mapping[str, Any]
    spent: Mapping[str, float]
    records: tuple[R, ...]

    @property
    def n(self) -> int:
        """Number of images with a record."""
        return len(self.records)

    @property
    def command(self) -> str:
        """`certify`, `attack` or `certify-smoothed`."""
        return str(self.manifest["command"])

    @property
    def status(self) -> str:
        """`started`, `success`, `error` or `interrupted`."""
        return str(self.manifest.get("status", "unknown"))

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights, as on disk."""
        return self.model_key[0]

    @property
    def model_key(self) -> tuple[str, ...]:
        """Digests of weights, function and class rule; empty where there is none, as in a run of an older robench."""
        identity = self.manifest.get("identity", {})
        return tuple(str(identity.get(f"{part}_sha256", "")) for part in ("weights", "function", "class"))

    @property
    def model_name(self) -> str:
        """What the model is called; the beginning of its digest where it has no name."""
        return self.model.name or f"model {self.weights_sha256[:8]}"

    @property
    def data_name(self) -> str:
        """Name of the data set and its split."""
        name = self.data.name or self.spec.get("data", {}).get("name", "unknown data")
        return f"{name} {self.data.split or self.spec.get('split', 'test')}"

    @property
    def data_key(self) -> tuple[str, str]:
        """Name and digest of the data."""
        return self.data_name, self.data.sha256 or ""

    @property
    def spec(self) -> Mapping[str, Any]:
        """What was asked."""
        spec: Mapping[str, Any] = self.manifest.get("spec", {})
        return spec

    @property
    def arithmetic(self) -> str:
        """What the records speak of: the model as deployed in `float32`, or in `float64`, as all attacks do."""
        return str(self.spec.get("deploy_dtype", "float64"))

    @cached_property
    def model(self) -> ModelFacts:
        """What the manifest says of the model."""
        return model_facts(self.facts.get("model"))

    @cached_property
    def data(self) -> DataFacts:
        """What the manifest says of the images."""
        return data_facts(self.facts.get("data"))

    @cached_property
    def bound(self) -> BoundFacts | None:
        """What the manifest says of the Lipschitz bound."""
        return bound_facts(self.facts.get("audit"))

    @cached_property
    def certificate(self) -> CertificateFacts:
        """What the manifest says of the certificates."""
        return certificate_facts(self.facts.get("certificate"))

    @cached_property
    def training(self) -> TrainingFacts | None:
        """What the manifest says of how the model was trained; None where it was not trained by robench."""
        return training_facts(self.facts.get("training"))

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is good to know beside the spec."""
        facts: Mapping[str, Any] = self.manifest.get("facts", {})
        return facts

    @property
    def device(self) -> str | None:
        """Name of the device it ran on."""
        return self.facts.get("device_name") or self.facts.get("device") or None


AnyRun = Run[CertifyRecord] | Run[AttackRecord]
OF_MODELS: Parsers = {"certify": certify_record, "attack": attack_record}


def read_runs(paths: Sequence[Path]) -> list[AnyRun]:
    """All certify and attack runs at or below some paths, sorted by their path.

    Raises:
        RunError: there is no such run, or one of them cannot be read or is of another schema version.
    """
    runs = _read_all(paths, OF_MODELS)
    if not runs and read_smoothed_runs(paths):
        raise RunError(
            "there is no certify or attack run, only runs of smoothed classifiers",
            hint="`robench report` and `robench gate` read them: their radii hold with a probability, and for another "
            "classifier",
        )
    if not runs:
        raise RunError("there is no certify or attack run", hint="name the --out folders of `certify` or `attack`")
    return runs


def read_smoothed_runs(paths: Sequence[Path]) -> list[Run[SmoothedRecord]]:
    """All runs of smoothed classifiers at or below some paths, sorted by their path; there may be none.

    Raises:
        RunError: as of `read_runs`.
    """
    return _read_all(paths, {SMOOTHED_COMMAND: smoothed_record})


def read_all_runs(paths: Sequence[Path]) -> tuple[list[AnyRun], list[Run[SmoothedRecord]]]:
    """All runs of models, and apart from them all runs of smoothed classifiers.

    Raises:
        RunError: as of `read_runs`, if there is none of either kind.
    """
    smoothed = read_smoothed_runs(paths)
    return (_read_all(paths, OF_MODELS) if smoothed else read_runs(paths)), smoothed


def _read_all(paths: Sequence[Path], parsers: Parsers) -> list[Run[Any]]:
    """The runs of some commands; a run of a model and one of a smoothed classifier are never read together."""
    manifests = _whole({folder.resolve() for path in paths for folder in find_runs(path)})
    names = _names(list(manifests))
    found = (_read(folder, manifest, names[folder], parsers) for folder, manifest in manifests.items())
    return [run for run in found if run is not None]


def _whole(folders: Collection[Path]) -> dict[Path, dict[str, Any]]:
    """The manifests of the folders without shards, sorted.

    Raises:
        RunError: there is a shard of a run that is not there: its images are no sample of anything.
    """
    manifests = {folder: read_json(folder / MANIFEST) for folder in sorted(folders)}
    whole = {folder: manifest for folder, manifest in manifests.items() if shard_of(manifest) is None}
    runs = {_key(manifest) for manifest in whole.values()}
    for folder, manifest in manifests.items():
        if folder not in whole and _key(manifest) not in runs:
            raise RunError(
                f"`{folder}` is shard {shard_of(manifest)} of a run",
                hint=f"join the shards first: robench merge {folder.parent} --out RUN",
            )
    return whole


def _key(manifest: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a run and its shards share."""
    identity = manifest.get("identity")
    whole = whole_identity(identity) if isinstance(identity, dict) else {}
    return manifest.get("command"), manifest.get("spec_digest"), digest(whole)


def _read(folder: Path, manifest: Mapping[str, Any], name: str, parsers: Parsers) -> Run[Any] | None:
    """The run in a folder; None if it is of another kind, such as a training."""
    command = str(manifest.get("command"))
    if command not in parsers:
        return None
    version = manifest.get("schema_version")
    if version not in READABLE_VERSIONS:
        raise RunError(
            f"`{folder}` is of schema version {version!r}; this robench reads "
            f"{' and '.join(map(str, READABLE_VERSIONS))}",
            hint="make the run again, or read it with the robench that wrote it",
        )
    summary = read_json(folder / SUMMARY) if (folder / SUMMARY).exists() else {}
    problem = misfit(manifest, run_shapes.MANIFEST, MANIFEST) or misfit(summary, run_shapes.SUMMARY, SUMMARY)
    if problem:
        raise RunError(f"`{folder}` is not as robench wrote it: {problem}", hint="move it elsewhere and make it again")
    check_unchanged(folder, manifest)
    records: tuple[Any, ...] = tuple(read_records(folder, parsers[command]))
    run: Run[Any] = Run(
        folder=folder, name=name, manifest=manifest, summary=summary, spent=read_effort(folder), records=records
    )
    if run.status == "success" and run.n != summary.get("n"):
        raise RunError(
            f"`{folder}` is a finished run of {summary.get('n')} images and holds {run.n} records",
            hint="records were lost or added; make the run again",
        )
    return run


def _names(folders: Sequence[Path]) -> dict[Path, str]:
    """The shortest tail of each path that no other one has."""
    names = {}
    for folder in folders:
        parts = folder.parts
        for length in range(1, len(parts) + 1):
            tail = parts[-length:]
            if sum(other.parts[-length:] == tail for other in folders) == 1:
                break
        names[folder] = "/".join(tail)
    return names

"""What a manifest says of a model, its data and its bound; a manifest of an older robench may lack some of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """Of the model, as `LoadedModel.describe` wrote it."""

    name: str | None = None
    recipe: str | None = None
    input_shape: Sequence[int] = ()
    classes: int | None = None
    n_params: int | None = None


@dataclass(frozen=True, kw_only=True)
class SubsetFacts:
    """Which rows of the split were used: the first, or drawn by a seed, of how many."""

    kind: str | None = None
    seed: int | None = None
    of: int | None = None


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """Of the images, as `Dataset.describe` wrote it.

    Fields:
        canonical: whether the files are the published ones, byte for byte; None if nothing is published.
    """

    name: str | None = None
    split: str | None = None
    shape: Sequence[int] = ()
    class_names: Sequence[str] = ()
    bounds: Sequence[float] = (0.0, 1.0)
    sha256: str | None = None
    canonical: bool | None = None
    subset: SubsetFacts | None = None

    def class_name(self, label: int) -> str:
        """Name of a class; its number where it has none."""
        return self.class_names[label] if 0 <= label < len(self.class_names) else str(label)


@dataclass(frozen=True, kw_only=True)
class LayerFacts:
    """Of one layer."""

    name: str = ""
    operation: str = ""
    lipschitz_upper: float | None = None


@dataclass(frozen=True, kw_only=True)
class CertificateFacts:
    """What a certificate of a run says, as `robench.records.certificates.claim` wrote it; empty where it is not known.

    Fields:
        rules: of certification, in the order of `RULES`.
        region: of the inputs for which it holds.
        arithmetic: of the network whose class does not change.
        model: the network itself, or what was made of it.
    """

    rules: Sequence[str] = ()
    region: str = ""
    arithmetic: str = ""
    model: str = ""


@dataclass(frozen=True, kw_only=True)
class BoundFacts:
    """Of the Lipschitz bound.

    Fields:
        refused: why there is none; None where there is one.
    """

    refused: str | None = None
    lipschitz_upper: float | None = None
    lipschitz_lower: float | None = None
    layers: Sequence[LayerFacts] = ()


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """How the model was trained, as `robench.workflows.training_folder.training_facts` wrote it.

    Fields:
        seconds: of the whole training, by the clock.
        device: name of the processor it ran on.
        settings: digest of all settings but the seed: trainings with an equal one differ in nothing else.
        loss: its fields.
        points: epochs at which the curves have their values.
        curves: by name, one value a point, on the validation split.
    """

    recipe: str = ""
    arch: str = ""
    constraint: str = ""
    seed: int = 0
    epochs: int = 0
    kept_epoch: int = 0
    seconds: float = 0.0
    device: str | None = None
    settings: str = ""
    loss: Mapping[str, Any] = field(default_factory=dict)
    points: Sequence[int] = ()
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)


def training_facts(data: Mapping[str, Any] | None) -> TrainingFacts | None:
    """The facts of a training; None where the manifest has none."""
    return _known(TrainingFacts, data) if data else None


def model_facts(data: Mapping[str, Any] | None) -> ModelFacts:
    """The facts of a model."""
    return _known(ModelFacts, data or {})


def data_facts(data: Mapping[str, Any] | None) -> DataFacts:
    """The facts of images."""
    found, subset = _known(DataFacts, data or {}), (data or {}).get("subset")
    return dataclasses.replace(found, subset=None if subset is None else _known(SubsetFacts, subset))


def certificate_facts(data: Mapping[str, Any] | None) -> CertificateFacts:
    """The facts of certificates."""
    return _known(CertificateFacts, data or {})


def bound_facts(data: Mapping[str, Any] | None) -> BoundFacts | None:
    """The facts of a bound; None where the manifest has none."""
    if not data:
        return None
    layers = [_known(LayerFacts, layer) for layer in data.get("layers") or ()]
    return dataclasses.replace(_known(BoundFacts, data), layers=layers)


def _known(kind: type[T], data: Mapping[str, Any]) -> T:
    """The fields that are there; the shapes of `runs.shapes` have been checked."""
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: data[name] for name in names if data.get(name) is not None})

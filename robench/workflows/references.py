"""What a user names: a model, images, where the work is done; and what a command gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch

from robench import models
from robench.data import Dataset, load
from robench.devices import resolve_device
from robench.engines.engine import Engine
from robench.progress import NoProgress, Progress
from robench.specs.data import DataSpec, Split


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Where and how work is done; not part of what a run is, so a run can go on with another one.

    Another device, number of threads or size of batches sums in another order: certified radii then differ in their
    last digits, and attacks on another kind of device may take another path.

    Fields:
        device: `auto`, `cpu` or `cuda:N`.
        threads: CPU threads; None leaves torch's choice.
        batch_size: images held in memory at a time.
        engine: whose workers compute; None for this process alone.
        progress: who is told how far the work is.
    """

    device: str = "auto"
    threads: int | None = None
    batch_size: int = 500
    engine: Engine | None = None
    progress: Progress = field(default_factory=NoProgress)

    def start(self) -> torch.device:
        """Set the threads and find the device. With workers there is one thread for each, unless more are asked."""
        threads = 1 if self.threads is None and self.engine is not None else self.threads
        if threads is not None:
            torch.set_num_threads(threads)
        return resolve_device(self.device)


@dataclass(frozen=True, init=False)
class ModelRef:
    """A model as the user names it: a model folder, a `.pt2`, an `.onnx` file, or `FILE.py:factory`.

    Args:
        ref: the path; `zoo:NAME` is read as the path of that folder.
        weights: file of weights, of a factory that brings none.
        input_shape: of one input, without the batch, where the model leaves it open.
        threshold: of one output: class 1 iff it is above; None to tell it from the model.
    """

    ref: str
    weights: Path | None
    input_shape: tuple[int, ...] | None
    threshold: float | None

    def __init__(
        self,
        ref: str | PathLike[str],
        *,
        weights: str | PathLike[str] | None = None,
        input_shape: Sequence[int] | None = None,
        threshold: float | None = None,
    ) -> None:
        name = fspath(ref)
        object.__setattr__(self, "ref", str(models.zoo_folder(name)) if name.startswith(models.ZOO) else name)
        object.__setattr__(self, "weights", None if weights is None else Path(weights))
        object.__setattr__(self, "input_shape", None if input_shape is None else tuple(input_shape))
        object.__setattr__(self, "threshold", threshold)

    def describe(self) -> dict[str, Any]:
        """Plain data that says in a manifest how it was read; `of` reads it back."""
        return {
            "path": str(Path(self.ref).resolve()),
            "weights": None if self.weights is None else str(self.weights.resolve()),
            "given_shape": None if self.input_shape is None else list(self.input_shape),
            "threshold": self.threshold,
        }

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> ModelRef:
        """The model that `describe` said; a run of an older robench notes its path alone.

        Args:
            described: from a manifest.
        """
        return cls(
            described["path"],
            weights=described.get("weights"),
            input_shape=described.get("given_shape"),
            threshold=described.get("threshold"),
        )

    def load(
        self, *, progress: Progress | None = None, shape_of_data: Callable[[], tuple[int, ...]] | None = None
    ) -> models.LoadedModel:
        """Read it; what a user should know of how it was read is noted.

        Args:
            progress: who is told.
            shape_of_data: gives the shape of an input where neither the user nor the model tells it.
        """
        loaded = models.load_model(
            self.ref,
            weights=self.weights,
            input_shape=self.input_shape,
            shape_of_data=shape_of_data,
            threshold=self.threshold,
        )
        self._tell(loaded, progress)
        return loaded

    def read(self, *, progress: Progress | None = None) -> models.LoadedModel | models.ReadModel:
        """Read it as a classifier if it is one, else as the function that it is.

        Args:
            progress: who is told.
        """
        if self.threshold is not None:
            return self.load(progress=progress)
        found = models.read_model(self.ref, weights=self.weights, input_shape=self.input_shape)
        if isinstance(found, models.ReadModel) and found.is_classifier:
            found = found.classifier(None)
        self._tell(found, progress)
        return found

    def _tell(self, loaded: models.LoadedModel | models.ReadModel, progress: Progress | None) -> None:
        for note in loaded.notes:
            (progress or NoProgress()).note(f"note: {note}")


@dataclass(frozen=True, init=False)
class DataRef:
    """Images as the user names them.

    Args:
        spec: which data set: its name, or a spec that also says how a subset is drawn.
        split: `train`, `validation` or `test`.
        data_dir: folder with its files; None for the cache, which downloads what it lacks.
        limit: at most this many images; None for all.
    """

    spec: DataSpec
    split: Split
    data_dir: Path | None
    limit: int | None

    def __init__(
        self,
        spec: DataSpec | str,
        *,
        split: Split = "test",
        data_dir: str | PathLike[str] | None = None,
        limit: int | None = None,
    ) -> None:
        object.__setattr__(self, "spec", DataSpec(name=spec) if isinstance(spec, str) else spec)
        object.__setattr__(self, "split", split)
        object.__setattr__(self, "data_dir", None if data_dir is None else Path(data_dir))
        object.__setattr__(self, "limit", limit)

    def load(self, progress: Progress) -> Dataset:
        """Read it."""
        return load(self.spec, self.split, data_dir=self.data_dir, limit=self.limit, progress=progress)


NamedModel: TypeAlias = ModelRef | str | PathLike[str]
"""What the workflows take for a model; a bare path where nothing else has to be said."""
NamedData: TypeAlias = DataRef | DataSpec | str
"""What the workflows take for images; a bare name for the whole test split from the cache."""


def model_ref(model: NamedModel) -> ModelRef:
    """A model as the user names it."""
    return model if isinstance(model, ModelRef) else ModelRef(model)


def data_ref(data: NamedData) -> DataRef:
    """Images as the user names them."""
    return data if isinstance(data, DataRef) else DataRef(data)


class Outcome(NamedTuple):
    """A finished command.

    Fields:
        folder: where its files are.
        summary: `summary.json` for what was asked, and for certify and attack `reused`, the
            number of images whose record was there before. That is of this call, so it is not in the run folder.
    """

    folder: Path
    summary: dict[str, Any]

    @property
    def document(self) -> dict[str, Any]:
        """What `--json` prints: the summary, and where its files are."""
        return {**self.summary, "folder": str(self.folder)}

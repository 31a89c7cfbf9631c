"""What a user names: a model, images, where the work is done; and what a command gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from robench import models
from robench.data import Dataset, load
from robench.devices import resolve_device
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

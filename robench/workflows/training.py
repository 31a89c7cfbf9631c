"""`robench train`: a recipe and data to a model folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robench import training
from robench.data import TwoClasses, load, two_classes
from robench.progress import Progress
from robench.records.record import SCHEMA_VERSION
from robench.specs.data import DataSpec
from robench.specs.training import TrainSpec
from robench.training import recipes
from robench.workflows.references import Execution, Outcome

MEASURED = 2000
"""Training images from which the distance of two classes is taken."""


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
    recipes.recipe_named(recipe)  # refused before any data is read
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
    return Outcome(
        out, {"schema_version": SCHEMA_VERSION, "command": "train", **dataclasses.asdict(result), "folder": str(out)}
    )


def _apart(data: DataSpec, data_dir: Path | None) -> TwoClasses:
    """How far apart two classes lie on drawn training images, or on all where the draw shows one class only."""
    drawn = load(dataclasses.replace(data, subset="draw"), "train", data_dir=data_dir, limit=MEASURED)
    both = len(set(drawn.labels.tolist())) == 2
    return two_classes(drawn if both else load(data, "train", data_dir=data_dir))

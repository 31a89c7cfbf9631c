"""From the name of a recipe and some data to a training spec: shape, classes and lengths come from the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from os import PathLike
from typing import Any

from robench.data import Dataset, TwoClasses, load, two_classes
from robench.data.splits import permutation
from robench.progress import Progress
from robench.specs.data import DataSpec
from robench.specs.training import TrainSpec
from robench.training.recipes import build_spec, recipe_named

MEASURED = 2000
"""Training images from which the distance of two classes is taken."""


def train_spec(
    recipe: str,
    data: DataSpec | str,
    *,
    data_dir: str | PathLike[str] | None = None,
    arch: str | None = None,
    epochs: int | None = None,
    seed: int = 0,
    changes: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> TrainSpec:
    """The full spec of a recipe on a data set that is named.

    Args:
        recipe: its name.
        data: the data set, or its name.
        data_dir: folder with the data set's own files.
        arch: architecture, or a file of layers; None for the recipe's.
        epochs: None for the recipe's.
        seed: of weights and data order.
        changes: fields that differ from the recipe's, by dotted path, such as `{"loss.alpha": 10.0}`.
        progress: told about downloads.

    Raises:
        SpecError: an unknown recipe, architecture or field, or a value of the wrong type.
        DataError: the data cannot be read.
    """
    data = DataSpec(name=data) if isinstance(data, str) else data
    recipe_named(recipe)  # refused before any data is read
    sample = load(data, "train", data_dir=data_dir, limit=1, progress=progress)
    return build_spec(
        recipe,
        data=data,
        input_shape=sample.shape,
        classes=sample.classes,
        arch=arch,
        epochs=epochs,
        seed=seed,
        changes=changes,
        apart=_apart_on_disk(data, data_dir) if sample.classes == 2 else None,
        images=sample.subset.of,
    )


def spec_for(
    recipe: str,
    images: Dataset,
    *,
    arch: str | None = None,
    epochs: int | None = None,
    seed: int = 0,
    changes: Mapping[str, Any] | None = None,
) -> TrainSpec:
    """The full spec of a recipe on training images in memory.

    Args:
        recipe: its name.
        images: all images to train on.
        arch: architecture, or a file of layers; None for the recipe's.
        epochs: None for the recipe's.
        seed: of weights and data order.
        changes: fields that differ from the recipe's, by dotted path.

    Raises:
        SpecError, DataError: as for `train_spec`.
    """
    return build_spec(
        recipe,
        data=DataSpec(name=images.name),
        input_shape=images.shape,
        classes=images.classes,
        arch=arch,
        epochs=epochs,
        seed=seed,
        changes=changes,
        apart=_apart_in_memory(images) if images.classes == 2 else None,
        images=len(images),
    )


def _apart_on_disk(data: DataSpec, data_dir: str | PathLike[str] | None) -> TwoClasses:
    """How far apart two classes lie on drawn training images, or on all where the draw shows one class only."""
    drawn = load(dataclasses.replace(data, subset="draw"), "train", data_dir=data_dir, limit=MEASURED)
    both = len(set(drawn.labels.tolist())) == 2
    return two_classes(drawn if both else load(data, "train", data_dir=data_dir))


def _apart_in_memory(images: Dataset) -> TwoClasses:
    """The same, of the images that `_apart_on_disk` would draw."""
    drawn = images.rows(permutation(len(images), DataSpec(name=images.name).subset_seed)[:MEASURED])
    return two_classes(drawn if len(set(drawn.labels.tolist())) == 2 else images)

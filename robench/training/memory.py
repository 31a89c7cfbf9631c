"""Training on images in memory: the trainings of `robench train`, without files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import nn

from robench.data import Dataset, Subset, load
from robench.data.dataset import content_sha256
from robench.data.memory import Images, ImagesLike, LabelsLike, images
from robench.data.splits import holdout
from robench.devices import own_settings, resolve_device
from robench.errors import DataError, SpecError
from robench.progress import NoProgress, Progress
from robench.specs.data import DataSpec, Split
from robench.specs.training import TrainSpec
from robench.training.planning import spec_for
from robench.training.recipes import recipe_named
from robench.training.session import Session

NAME = "memory"


def train(
    recipe: str | TrainSpec,
    x: ImagesLike,
    y: LabelsLike | None = None,
    *,
    validation: tuple[ImagesLike, LabelsLike] | Dataset | None = None,
    arch: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    changes: Mapping[str, Any] | None = None,
    bounds: tuple[float, float] | None = None,
    limit: int | None = None,
    data_dir: str | PathLike[str] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> nn.Sequential:
    """Train a model by a recipe, and give the plain model of its best epoch on the validation images.

    The same trainings as `robench train`: with the same spec, data, device and number of threads the weights are equal.

    Args:
        recipe: a name (`hkr`, `gnp-hinge`, `gnp-log`, `1lip-log`, `adv`, `standard`, `kr`, `margin`), or a whole spec.
        x: images (N, *shape), floats; or a data set or its name, which bring their own validation split, and their own
            suggestions for epochs, batches, margins and radii.
        y: classes (N,), integers from 0 up, two of them or more; None with a data set.
        validation: images and classes, or a data set, on which epochs are compared; None for a tenth of each class of
            x, drawn with a fixed seed and not trained on.
        arch: architecture, or a file of layers; None for the recipe's.
        epochs: None for the recipe's.
        seed: of weights and data order; None for 0.
        changes: fields of the spec that differ from the recipe's, such as `{"loss.alpha": 10.0}`.
        bounds: least and greatest value of an input; None for 0 and 1, or those of the data set.
        limit: train on at most this many images, the first ones.
        data_dir: folder with the files of the data set.
        device: `auto`, `cpu` or `cuda:N`.
        progress: told each step and epoch, and closed at the end.

    Returns:
        Plain layers of torch and `robench.layers`, in evaluation mode, frozen, float32, on the CPU: one logit for two
        classes, else one for each.

    Raises:
        DataError: images or labels do not serve, or do not fit the spec.
        SpecError: an unknown recipe or field, a value of the wrong type, or a loss that is no longer finite.

    Examples:
        >>> import torch, robench
        >>> x = torch.tensor([[0.1, 0.1], [0.9, 0.9]]).repeat(50, 1)
        >>> model = robench.train("hkr", x, [0, 1] * 50, epochs=2)
        >>> model(x[:2]).shape, model.training
        (torch.Size([2, 1]), False)
    """
    if isinstance(recipe, str):
        recipe_named(recipe)  # refused before any data is read
    elif not isinstance(recipe, TrainSpec):
        raise SpecError(f"the recipe is {recipe!r}", hint="give the name of a recipe, or a `TrainSpec`")
    elif any(value is not None for value in (arch, epochs, seed, changes)):
        raise SpecError("a whole spec is given, and settings beside it", hint="change the spec: `spec.override({...})`")
    place = resolve_device(device)
    with own_settings(), torch.random.fork_rng(devices=[]):  # an export draws weights that it then replaces
        classes = None if isinstance(recipe, str) else recipe.model.classes
        examples, held_out = _splits(x, y, validation, bounds, limit, data_dir, classes)
        if isinstance(recipe, str):
            spec = spec_for(recipe, examples, arch=arch, epochs=epochs, seed=seed or 0, changes=changes)
        else:
            spec = recipe
        if spec.adversarial is not None:
            _require_inside(examples)
        session = Session(spec, examples, held_out, place)
        progress = NoProgress() if progress is None else progress
        for _ in session.epochs(progress):
            pass
        progress.close()
        return session.kept_model()


def _splits(
    x: ImagesLike,
    y: LabelsLike | None,
    validation: tuple[ImagesLike, LabelsLike] | Dataset | None,
    bounds: tuple[float, float] | None,
    limit: int | None,
    data_dir: str | PathLike[str] | None,
    classes: int | None,
) -> tuple[Dataset, Dataset]:
    """Images to train on, and images to compare epochs on; classes are counted by the labels, or given."""
    named = isinstance(x, str)
    place = None if isinstance(x, Dataset) else data_dir  # of a data set that is here, for its validation split alone
    whole = images(x, y, bounds=bounds, limit=limit, split="train" if named else None, data_dir=place)
    if isinstance(whole, Dataset):
        examples = whole
    else:
        names = tuple(str(label) for label in range(classes or max(2, int(whole.labels.max()) + 1)))
        examples = _dataset(whole, "train", names)
    if isinstance(validation, Dataset):
        return examples, validation
    if validation is not None:
        if not isinstance(validation, tuple | list) or len(validation) != 2:
            raise DataError("`validation` is no pair of images and classes", hint="give `validation=(x, y)`")
        held_out = images(*validation, bounds=examples.bounds)
        if held_out.shape != examples.shape:
            raise DataError(
                f"the validation images have shape {held_out.shape}, the training images {examples.shape}",
                hint="prepare both in the same way",
            )
        return examples, _dataset(held_out, "validation", examples.class_names)
    if isinstance(whole, Dataset):
        return examples, load(DataSpec(name=whole.name), "validation", data_dir=data_dir)
    rows = holdout(whole.labels)
    if not len(rows["validation"]):
        text = f"{len(whole)} images are too few to keep some for validation"
        raise DataError(text, hint="give more, or `validation=(x, y)`")
    return examples.rows(rows["train"]), dataclasses.replace(examples.rows(rows["validation"]), split="validation")


def _require_inside(images: Dataset) -> None:
    """Adversarial training keeps to the bounds, and would move what lies outside of them."""
    low, high = float(images.inputs.min()), float(images.inputs.max())
    if images.inputs.dtype == np.float32 and not images.bounds[0] <= low <= high <= images.bounds[1]:
        raise DataError(
            f"the images go from {low:g} to {high:g}, outside of their bounds {images.bounds}",
            hint="give their least and greatest value, such as `bounds=(-1.0, 1.0)`",
        )


def _dataset(given: Images | Dataset, split: Split, class_names: tuple[str, ...]) -> Dataset:
    """Images in memory in the form of a data set."""
    if isinstance(given, Dataset):
        raise DataError(f"the {split} images are named, `{given.name}`", hint="give images and classes")
    if int(given.labels.max()) >= len(class_names):
        raise DataError(
            f"the {split} labels go up to {given.labels.max()}, but there are {len(class_names)} classes",
            hint="give labels from 0 to one less than the number of classes",
        )
    return Dataset(
        name=NAME,
        split=split,
        inputs=given.inputs,
        labels=given.labels,
        index=given.index,
        class_names=class_names,
        bounds=given.bounds,
        sha256=content_sha256(given.inputs, given.labels),
        subset=Subset("first", None, len(given)),
    )

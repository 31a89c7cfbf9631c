"""A model and its images, and whether they fit each other."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from robench import models
from robench.data import Dataset
from robench.errors import DataError, ModelError
from robench.models.output_flags import LOOKED_AT
from robench.progress import Progress
from robench.specs.shard import Shard
from robench.workflows.references import DataRef, ModelRef, NamedData, NamedModel, data_ref, model_ref


@dataclass(frozen=True)
class Pair:
    """A model and the images it is asked about, which fit each other, and how the user named them.

    Fields:
        model, data: as named.
        loaded: the model.
        dataset: the images.
    """

    model: ModelRef
    data: DataRef
    loaded: models.LoadedModel
    dataset: Dataset


def load_pair(model: NamedModel, data: NamedData, progress: Progress) -> Pair:
    """Read a model and images.

    Args:
        model: as the user names it.
        data: as the user names it.
        progress: who is told what a user should know of the two.

    Raises:
        DataError: the images cannot be read.
        ModelError: the model cannot be read, or they do not fit each other.
    """
    model, data = model_ref(model), data_ref(data)
    read = functools.cache(lambda: data.load(progress))
    loaded = model.load(progress=progress, shape_of_data=lambda: read().shape)
    pair = Pair(model, data, loaded, read())
    _check_fit(pair)
    if not loaded.function.traced:
        progress.note(
            f"note: what `{loaded.name}` runs depends on values of its input; it is told from other models by its "
            "source, its weights and constants, and its behaviour at a few probes"
        )
    if loaded.trained_on not in (None, data.spec.name):
        progress.note(f"note: `{loaded.name}` was trained on `{loaded.trained_on}`, not on `{data.spec.name}`")
    return pair


def images_of(pair: Pair, shard: Shard | None) -> Dataset:
    """The images of a pair that are of a shard; all of them for None.

    Raises:
        DataError: there are none.
    """
    if shard is None:
        return pair.dataset
    images = pair.dataset.rows(np.flatnonzero(shard.holds(pair.dataset.index)))
    if not len(images):
        raise DataError(
            f"the shard {shard} holds none of the {len(pair.dataset)} images", hint="take fewer shards or more images"
        )
    return images


def _check_fit(pair: Pair) -> None:
    """Refuse images of another shape, or of another number of classes."""
    loaded, dataset, name = pair.loaded, pair.dataset, pair.data.spec.name
    if dataset.shape != loaded.input_shape:
        raise ModelError(
            f"`{pair.model.ref}` takes inputs of shape {loaded.input_shape}, but the images of `{name}` "
            f"have shape {dataset.shape}",
            hint="name the data set that the model was trained on, or train a model on this one",
        )
    if dataset.classes != loaded.classes:
        raise ModelError(
            f"`{pair.model.ref}` tells {loaded.classes} classes apart, but `{name}` has {dataset.classes}",
            hint="name the data set that the model was trained on (two classes of a set are `mnist:0-8`); if the model "
            "has outputs that are never used, return the used ones alone: `logits[:, :2]`",
        )


def output_flags(pair: Pair, progress: Progress) -> list[dict[str, str]]:
    """Flags about the way the class is read from the outputs, each also said at once."""
    dataset = pair.dataset
    found = models.output_flags(pair.loaded, dataset.batch(slice(0, LOOKED_AT)), dataset.labels[:LOOKED_AT])
    for flag in found:
        progress.note(f"flag {flag.name}: {flag.message}")
    return [flag._asdict() for flag in found]

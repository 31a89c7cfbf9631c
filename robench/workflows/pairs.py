"""A model and the images it is asked about, and whether they fit each other."""

from __future__ import annotations

import functools

from robench import models
from robench.data import Dataset
from robench.errors import ModelError
from robench.models.output_flags import LOOKED_AT
from robench.progress import Progress
from robench.workflows.references import DataRef, ModelRef


def load_pair(model: ModelRef, data: DataRef, progress: Progress) -> tuple[models.LoadedModel, Dataset]:
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


def output_flags(loaded: models.LoadedModel, dataset: Dataset, progress: Progress) -> list[dict[str, str]]:
    """Flags about the way the class is read from the outputs, each also said at once."""
    found = models.output_flags(loaded, dataset.batch(slice(0, LOOKED_AT)), dataset.labels[:LOOKED_AT])
    for doubt in found:
        progress.note(f"flag {doubt.name}: {doubt.message}")
    return [doubt._asdict() for doubt in found]

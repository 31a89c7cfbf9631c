"""Images and labels in the memory of the user's program, or the name of a data set, brought into one form.

Arrays are whatever numpy takes, and torch tensors on any device: no torch is loaded for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from robench.data.dataset import PIXEL_BOUNDS, Dataset, Labels, Rows, check_limit
from robench.data.loading import load
from robench.errors import DataError, SpecError
from robench.specs.data import DataSpec, Split

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float32]
ImagesLike: TypeAlias = "torch.Tensor | npt.ArrayLike | Dataset | str"
"""Images (N, *shape), a tensor or what numpy takes for an array; or a data set, or its name."""
LabelsLike: TypeAlias = "torch.Tensor | npt.ArrayLike"
"""Classes (N,), integers from 0 up."""


@dataclass(frozen=True)
class _Inputs:
    """Images in memory; the index of an image is its row.

    Fields:
        inputs: (N, *shape) float32, finite.
        index: (N,) 0..N-1.
        bounds: least and greatest value of an input.
    """

    inputs: Floats
    index: Rows
    bounds: tuple[float, float]

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.inputs.shape[1:]

    def batch(self, rows: slice | Rows) -> Floats:
        """A copy of some rows."""
        return self.inputs[rows].copy()


@dataclass(frozen=True)
class Unlabelled(_Inputs):
    """Images in memory of which no classes are known."""

    labels: None = None


@dataclass(frozen=True)
class Images(_Inputs):
    """Images in memory with their classes.

    Fields:
        labels: (N,) int64, from 0 up.
    """

    labels: Labels


ImageSet: TypeAlias = Dataset | Images
"""Images with labels."""


def inputs(
    x: ImagesLike,
    y: LabelsLike | None = None,
    *,
    bounds: Any = None,
    limit: int | None = None,
    split: Split | None = None,
    data_dir: str | PathLike[str] | None = None,
) -> ImageSet | Unlabelled:
    """Images, in memory or by name, with labels where these are given.

    Args:
        x: (N, *shape), floats; or a data set or its name, which bring labels and bounds.
        y: (N,), integers from 0 up; None with a data set, or where they are not known.
        bounds: least and greatest value of an input; None for 0 and 1, or those of the data set.
        limit: at most this many, the first ones; None for all.
        split: of a data set by name; None for `test`.
        data_dir: folder with its files; None for the cache, which downloads what it lacks.

    Raises:
        DataError: x is no finite real (N, *shape) with N > 0, y no integers (N,) from 0 up, or there is no such data
            set; or a split or a folder is given for images that are here already.
        SpecError: the bounds are not two finite numbers, the first below the second.
    """
    check_limit(limit)
    if isinstance(x, str | Dataset):
        if y is not None:
            raise DataError("a data set has its own labels, but labels are given too", hint="leave out the labels")
        if bounds is not None:
            raise SpecError("a data set has its own bounds, but bounds are given too", hint="leave out the bounds")
        if isinstance(x, str):
            return load_data(x, split=split or "test", limit=limit, data_dir=data_dir)
    _refuse_names(split=split, data_dir=data_dir)
    if isinstance(x, Dataset):
        return x.take(limit)
    whole = _inputs(x)
    labels = None if y is None else classes_of(y, len(whole))
    index = np.arange(len(whole), dtype=np.int64)
    if labels is None:
        return Unlabelled(whole[:limit], index[:limit], _bounds(bounds))
    return Images(whole[:limit], index[:limit], _bounds(bounds), labels[:limit])


def _refuse_names(**given: Any) -> None:
    """Refuse what says where a data set lies, or which part of it is meant, beside images that are in memory."""
    name = next((name for name, value in given.items() if value is not None), None)
    if name is not None:
        raise DataError(
            f"`{name}={str(given[name])!r}` is for a data set by its name, and the images are given themselves",
            hint=f"leave out `{name}`, or name a data set, such as `mnist`; `load_data` takes `{name}` too",
        )


def images(
    x: ImagesLike,
    y: LabelsLike | None = None,
    *,
    bounds: Any = None,
    limit: int | None = None,
    split: Split | None = None,
    data_dir: str | PathLike[str] | None = None,
) -> ImageSet:
    """As `inputs`, with labels.

    Args:
        x: images, or a data set or its name.
        y: labels; None with a data set.
        bounds: of the images.
        limit: at most this many.
        split: of a data set by name.
        data_dir: folder with its files.

    Raises:
        DataError: as `inputs`, or there are no labels.
        SpecError: as `inputs`.
    """
    found = inputs(x, y, bounds=bounds, limit=limit, split=split, data_dir=data_dir)
    if isinstance(found, Unlabelled):
        raise DataError("the images have no labels", hint="give a class for each image, integers from 0 up")
    return found


def load_data(
    name: str, *, split: Split = "test", limit: int | None = None, data_dir: str | PathLike[str] | None = None
) -> Dataset:
    """Images and labels of a data set by its name.

    Args:
        name: `mnist`, `digits`, `mnist:0-8`, `npz:PATH` and so on; docs/data.md lists all.
        split: `train`, `validation` or `test`.
        limit: at most this many, the first ones; None for all.
        data_dir: folder with its files; None for the cache, which downloads what it lacks.

    Raises:
        DataError: there is no such data set, or its files are missing or broken.

    Examples:
        >>> import robench
        >>> x, y = robench.load_data("digits", limit=3).arrays()
        >>> x.shape, x.dtype, y.tolist()
        ((3, 1, 8, 8), dtype('float32'), [5, 0, 0])
    """
    return load(DataSpec(name=name), split, data_dir=data_dir, limit=limit)


def _inputs(x: Any) -> Floats:
    array = as_array(x, "images")
    if not np.issubdtype(array.dtype, np.floating):
        raise DataError(
            f"images of type {array.dtype} are no floats",
            hint="give floats within the bounds; for pixels 0..255, `x / 255`",
        )
    if array.ndim < 2 or 0 in array.shape:
        raise DataError(
            f"images of shape {array.shape} are no batch (N, *shape) of at least one",
            hint="for a single image give `x[None]` and `[label]`",
        )
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(values).all():
        raise DataError("the images hold inputs that are NaN, infinite, or beyond float32", hint="fix or remove them")
    return values


def _bounds(bounds: Any) -> tuple[float, float]:
    if bounds is None:
        return PIXEL_BOUNDS
    try:
        low, high = (float(value) for value in bounds)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise SpecError(
            f"the bounds {bounds!r} are not a least and a greatest value of an input",
            hint="give two numbers, such as `bounds=(0.0, 1.0)`",
        )
    return low, high


def as_array(values: Any, what: str) -> npt.NDArray[Any]:
    """A numpy array of what is one, of a tensor on any device, or of rows of equal length.

    Args:
        values: the numbers.
        what: how to call them in a message.

    Raises:
        DataError: they are no numbers in memory, have gaps, or are rows of unequal length.
    """
    if hasattr(values, "detach"):  # a tensor of torch
        if values.is_meta or str(values.layout) != "torch.strided":
            raise DataError(
                f"{what} in a tensor on the device {values.device} in the layout {values.layout} cannot be read",
                hint="give a dense tensor with values: `x.to_dense()`",
            )
        values = values.detach().cpu()
        values = values.float() if str(values.dtype) == "torch.bfloat16" else values
        return np.asarray(values.numpy())
    if np.ma.is_masked(values):
        raise DataError(f"{what} are a masked array, and some are masked", hint="fill or remove those: `x.filled(0)`")
    try:
        array = np.asarray(values)
    except ValueError:
        raise DataError(f"{what} of unequal shapes are no array", hint="give one tensor or array") from None
    if array.dtype == object:
        raise DataError(
            f"{what} of type {type(values).__name__} are no array of numbers",
            hint="give one tensor or array; of a loader, `torch.cat([batch for batch, _ in loader])`",
        )
    return array


def classes_of(y: Any, count: int) -> Labels:
    """True classes of images.

    Args:
        y: (N,), integers from 0 up.
        count: N.

    Raises:
        DataError: they are anything else.
    """
    array = as_array(y, "labels")
    if array.ndim == 2 and array.shape[0] == count and array.shape[1] > 1:
        raise DataError(f"labels of shape {array.shape} are one row an image", hint="give classes: `y.argmax(1)`")
    if array.shape != (count,):
        raise DataError(
            f"labels of shape {array.shape} are not one class for each of {count} images",
            hint=f"give classes of shape ({count},)",
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"labels of type {array.dtype} are no classes", hint="give integers from 0 up")
    if array.min() < 0:
        raise DataError(
            f"labels go from {array.min()} to {array.max()}, but classes count from 0",
            hint="for labels -1 and 1 give `(y + 1) // 2`",
        )
    return array.astype(np.int64)


def check_classes(labels: Labels, classes: int) -> None:
    """Refuse labels that a model cannot give.

    Raises:
        DataError: they are not in 0..classes-1.
    """
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise DataError(
            f"labels go from {labels.min()} to {labels.max()}, but the model has {classes} classes",
            hint="take the data that the model was trained on, such as `mnist:0-8` for a model of two digits",
        )

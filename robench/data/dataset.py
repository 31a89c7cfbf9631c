"""What a loaded data set is, and what a reader of files hands over before subsets are taken."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from robench.errors import DataError
from robench.progress import Progress
from robench.specs.data import Split

Inputs: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Labels: TypeAlias = npt.NDArray[np.int64]
Rows: TypeAlias = npt.NDArray[np.int64]

PIXEL_BOUNDS = (0.0, 1.0)


class Subset(NamedTuple):
    """Which rows of a split a data set holds.

    Fields:
        kind: `first` rows of the split, or a seeded `draw` in the order drawn.
        seed: seed of the draw; None for `first`.
        of: number of rows to choose from: the split, or what a binary view leaves of it.
    """

    kind: Literal["first", "draw"]
    seed: int | None
    of: int


@dataclass(frozen=True)
class Dataset:
    """Inputs and labels of a split, or of a subset of it.

    Fields:
        name: as in the `DataSpec`.
        split: `train`, `validation` or `test`.
        inputs: (N, C, H, W) pixels, uint8 0..255 or float32 in [0, 1]; (N, d) float32 for point sets.
        labels: (N,) classes in 0..q-1.
        index: (N,) position of each row in the split of the whole set, binary view or not.
        class_names: q names.
        bounds: least and greatest value an input may take, in the units of `batch`.
        sha256: of the inputs and labels of the whole split, the same for each view and subset of it.
        subset: which rows these are.
        canonical: whether the files are byte for byte the published ones; None where no such list exists.
    """

    name: str
    split: Split
    inputs: Inputs
    labels: Labels
    index: Rows
    class_names: tuple[str, ...]
    bounds: tuple[float, float]
    sha256: str
    subset: Subset
    canonical: bool | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.inputs.shape[1:]

    @property
    def classes(self) -> int:
        """Number of classes q."""
        return len(self.class_names)

    def batch(self, rows: slice | Rows) -> npt.NDArray[np.float32]:
        """A copy of some rows as float32; uint8 pixels are divided by 255."""
        chosen = self.inputs[rows]
        if chosen.dtype == np.uint8:
            return np.divide(chosen, np.float32(255.0), dtype=np.float32)
        return chosen.astype(np.float32, copy=True)

    def arrays(self) -> tuple[npt.NDArray[np.float32], Labels]:
        """All images as float32 (N, *shape) and their labels (N,)."""
        return self.batch(slice(None)), self.labels

    def take(self, n: int | None) -> Dataset:
        """The first n rows, in the order of the subset; all of them for None or where there are fewer.

        Raises:
            DataError: n is not above 0.
        """
        if n is None:
            return self
        check_limit(n)
        return self.rows(slice(n))

    def rows(self, rows: slice | Rows) -> Dataset:
        """Some of the rows, in the order given."""
        return dataclasses.replace(self, inputs=self.inputs[rows], labels=self.labels[rows], index=self.index[rows])

    def describe(self) -> dict[str, Any]:
        """Plain data that says in a manifest what was used."""
        return {
            "name": self.name,
            "split": self.split,
            "n": len(self),
            "classes": self.classes,
            "class_names": list(self.class_names),
            "shape": list(self.shape),
            "bounds": list(self.bounds),
            "sha256": self.sha256,
            "canonical": self.canonical,
            "subset": self.subset._asdict(),
        }


def check_limit(limit: int | None) -> None:
    """Refuse a number of images that is no integer above 0.

    Raises:
        DataError: it is not.
    """
    if limit is None:
        return
    if not isinstance(limit, int | np.integer) or isinstance(limit, bool):
        raise DataError(f"the limit of {limit!r} images is no integer", hint="give 1 or more, or leave the limit out")
    if limit < 1:
        raise DataError(f"the limit of {limit} images is not above 0", hint="give 1 or more, or leave the limit out")


@dataclass(frozen=True)
class Source:
    """One whole split of a set, before a view or a subset is taken; inputs are read when asked for.

    Fields:
        labels: (N,) classes.
        class_names, bounds, sha256, canonical: as in `Dataset`.
        read: inputs of the given rows.
    """

    labels: Labels
    class_names: tuple[str, ...]
    bounds: tuple[float, float]
    sha256: str
    read: Callable[[Rows, Progress], Inputs]
    canonical: bool | None = None


def array_source(
    inputs: Inputs,
    labels: npt.NDArray[np.integer[Any]],
    class_names: tuple[str, ...],
    *,
    bounds: tuple[float, float] = PIXEL_BOUNDS,
    canonical: bool | None = None,
) -> Source:
    """A split whose inputs are already in memory.

    Args:
        inputs: (N, ...) as they are given out.
        labels: (N,) classes.
        class_names: one for each class.
        bounds: least and largest value of an input.
        canonical: as in `Source`.
    """
    labels64 = np.ascontiguousarray(labels, dtype=np.int64)

    def read(rows: Rows, progress: Progress) -> Inputs:
        return inputs[rows]

    return Source(labels64, class_names, bounds, content_sha256(inputs, labels64), read, canonical)


def input_digest(image: npt.NDArray[np.float32]) -> str:
    """SHA-256 of one input as float32 little-endian bytes: which image a record is about."""
    return hashlib.sha256(np.ascontiguousarray(image, dtype="<f4").data).hexdigest()


def content_sha256(inputs: Inputs, labels: Labels) -> str:
    """SHA-256 of type, shape and little-endian bytes of the inputs, then of the labels."""
    hasher = hashlib.sha256()
    for array in (inputs, labels):
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        hasher.update(f"{little.dtype.str}{little.shape}".encode())
        hasher.update(little.data)
    return hasher.hexdigest()

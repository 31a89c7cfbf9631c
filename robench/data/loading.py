"""The door to the data sets: a spec and a split in, a `Dataset` out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from robench.data.builtin import digits, two_moons
from robench.data.celeba import celeba
from robench.data.cifar import cifar10
from robench.data.dataset import Dataset, Inputs, Rows, Source, Subset, check_limit
from robench.data.download import cache_folder, fetch
from robench.data.files import reading
from robench.data.folders import folder
from robench.data.mnist import IDX_SETS, idx_set
from robench.data.npz import npz
from robench.data.published import CIFAR10, IDX, Remote
from robench.data.splits import permutation
from robench.errors import DataError, did_you_mean
from robench.progress import NoProgress, Progress
from robench.specs.data import DataSpec, Split
from robench.specs.names import DATA_SETS

NAMES = tuple(DATA_SETS)
"""What a `DataSpec` may name; `:a-b` after it is the binary view of two classes."""

VIEW = re.compile(r"(?P<base>.+):(?P<first>\d+)-(?P<second>\d+)")


class DataName(NamedTuple):
    """The parts of a name such as `npz:PATH:0-8`.

    Fields:
        kind: first part, such as `mnist` or `npz`.
        path: PATH of `npz:` and `folder:`; None for the others.
        pair: the two classes of a binary view; None for the whole set.
    """

    kind: str
    path: Path | None
    pair: tuple[int, int] | None


def load(
    spec: DataSpec,
    split: Split,
    *,
    data_dir: str | PathLike[str] | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """A split of a data set, or the first `limit` rows of its subset.

    A larger limit keeps the rows of a smaller one, in the same order, for both kinds of subset.

    Args:
        spec: name and kind of subset.
        split: which split.
        data_dir: folder with the files of the user; None for the cache, which downloads what it lacks.
        limit: at most this many rows; None for all.
        progress: told about downloads and decoding.

    Raises:
        DataError: the name is unknown, or files are missing, truncated, wrongly shaped or mislabelled.
    """
    progress = NoProgress() if progress is None else progress
    check_limit(limit)
    if split not in get_args(Split):
        raise DataError(f"there is no split `{split}`", hint=did_you_mean(split, get_args(Split)))
    name = parse_name(spec.name)
    source = _open(name, split, None if data_dir is None else Path(data_dir), progress)
    rows, labels, class_names = _view(source, name.pair, spec.name)
    if not len(rows):
        raise DataError(f"the {split} split of `{spec.name}` holds no images", hint="use another split or more data")
    order = permutation(len(rows), spec.subset_seed) if spec.subset == "draw" else np.arange(len(rows))
    order = order[:limit]
    absent = len(np.unique(labels)) - len(np.unique(labels[order]))
    if absent and len(order) >= len(class_names):
        progress.note(f"{spec.name}: {absent} of {len(class_names)} classes are not among the {len(order)} images used")
    inputs = source.read(rows[order], progress)
    _note_dark(inputs, spec.name, progress)
    return Dataset(
        name=spec.name,
        split=split,
        inputs=inputs,
        labels=labels[order],
        index=rows[order],
        class_names=class_names,
        bounds=source.bounds,
        sha256=source.sha256,
        subset=Subset(spec.subset, spec.subset_seed if spec.subset == "draw" else None, len(rows)),
        canonical=source.canonical,
    )


def _note_dark(inputs: Inputs, name: str, progress: Progress) -> None:
    """Say that all images are nearly black: mostly they were scaled twice, or their white is not 255."""
    white = 255 if inputs.dtype == np.uint8 else 1
    if inputs.ndim == 4 and len(inputs) > 1 and 4 * float(inputs.max()) < white:
        progress.note(f"{name}: no value of the {len(inputs)} images is above {inputs.max():g}, where {white} is white")


def parse_name(text: str) -> DataName:
    """The parts of the name of a data set.

    Raises:
        DataError: no set has such a name.
    """
    match = VIEW.fullmatch(text)
    base = match["base"] if match else text
    pair = (int(match["first"]), int(match["second"])) if match else None
    kind, colon, path = base.partition(":")
    if (f"{kind}:PATH" if colon else kind) not in NAMES or (colon and not path):
        raise DataError(f"there is no data set `{text}`", hint=did_you_mean(text, NAMES))
    return DataName(kind, Path(path).expanduser() if colon else None, pair)


def _open(name: DataName, split: Split, data_dir: Path | None, progress: Progress) -> Source:
    if name.kind == "two-moons":
        return two_moons(split)
    if name.kind == "digits":
        return digits(split)
    if name.path is not None:
        path = _own_path(name.path, data_dir)
        with reading(path):
            return (npz if name.kind == "npz" else folder)(split, path, progress)
    place = cache_folder() if data_dir is None else data_dir
    with reading(place):
        if data_dir is not None and not data_dir.exists():
            raise DataError(f"the data folder `{data_dir}` does not exist", hint="name another data folder")
        if name.kind == "celeba":
            return celeba(split, place, progress)
        if name.kind == "cifar10":
            return cifar10(split, place, _fetcher(CIFAR10, "cifar10", data_dir, progress), progress)
        which = IDX_SETS[name.kind]
        return idx_set(which, split, place, _fetcher(IDX[name.kind], name.kind, data_dir, progress), progress)


def _fetcher(
    remotes: Mapping[str, Remote], name: str, data_dir: Path | None, progress: Progress
) -> Callable[[str], Path] | None:
    """How to download a file of a set into the cache; None where the user has named a folder."""
    if data_dir is not None:
        return None
    return lambda file: fetch(remotes[file], cache_folder() / name, progress)


def _own_path(path: Path, data_dir: Path | None) -> Path:
    """PATH of `npz:PATH` and `folder:PATH`, from here, else from the data folder."""
    return data_dir / path if data_dir is not None and not path.exists() and (data_dir / path).exists() else path


def _view(source: Source, pair: tuple[int, int] | None, name: str) -> tuple[Rows, Rows, tuple[str, ...]]:
    """Rows, labels and class names of the whole split, or of two of its classes (class 1 is the second)."""
    if pair is None:
        return np.arange(len(source.labels)), source.labels, source.class_names
    q = len(source.class_names)
    if pair[0] == pair[1] or max(pair) >= q:
        raise DataError(
            f"`{name}` is no binary view: the set has the classes 0 to {q - 1}",
            hint="give two different ones, such as `mnist:0-8`",
        )
    rows = np.flatnonzero(np.isin(source.labels, pair))
    labels = (source.labels[rows] == pair[1]).astype(np.int64)
    return rows, labels, (source.class_names[pair[0]], source.class_names[pair[1]])

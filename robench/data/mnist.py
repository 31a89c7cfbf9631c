"""`mnist` and `fashion-mnist` from their four canonical idx files.

Both sets use the same file names, so their contents are held against the published ones: a file that is known to be of
the other set, of the other split, or to bear other labels, is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from robench.data.dataset import Source, array_source
from robench.data.files import broken
from robench.data.idx import read_idx
from robench.data.published import IDX_CONTENTS, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from robench.errors import DataError
from robench.progress import Progress
from robench.specs.data import Split

SIDE = 28
VALIDATION_PART = 6
"""The last sixth of the training file validates: 10 000 of 60 000, which leaves the paper's 50 000."""

Fetch = Callable[[str], Path]
"""Download the file of a name, and say where it lies."""


class IdxSet(NamedTuple):
    """A set in MNIST's format.

    Fields:
        name: as in a `DataSpec`.
        folders: where its files may lie below the data folder, most specific first.
        class_names: ten names.
    """

    name: str
    folders: tuple[str, ...]
    class_names: tuple[str, ...]


MNIST = IdxSet("mnist", ("mnist", "MNIST/raw", "MNIST", "."), tuple(str(digit) for digit in range(10)))
FASHION_MNIST = IdxSet(
    "fashion-mnist",
    ("fashion-mnist", "FashionMNIST/raw", "FashionMNIST", "."),
    (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
)
IDX_SETS = {MNIST.name: MNIST, FASHION_MNIST.name: FASHION_MNIST}


def idx_set(which: IdxSet, split: Split, folder: Path, fetch: Fetch | None, progress: Progress) -> Source:
    """A split of `mnist` or `fashion-mnist`, (N, 1, 28, 28) uint8.

    Args:
        which: the set.
        split: `train` and `validation` are the first five sixths and the last sixth of the training file.
        folder: data folder to look in.
        fetch: how to download a missing file; None where that must not be.
        progress: told about files that are not the published ones.

    Raises:
        DataError: a file is missing, truncated, wrongly shaped, mislabelled or of another set.
    """
    images_name, labels_name = (TEST_IMAGES, TEST_LABELS) if split == "test" else (TRAIN_IMAGES, TRAIN_LABELS)
    images_path = _find(which, images_name, folder, fetch)
    labels_path = _find(which, labels_name, folder, fetch, beside=images_path)
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    known_images = _known(images_path, images.content, which.name, images_name)
    known_labels = _known(labels_path, labels.content, which.name, labels_name)
    n = len(images.array)
    if images.array.shape[1:] != (SIDE, SIDE):
        rows, columns = images.array.shape[1:]
        raise broken(images_path, f"holds images of {rows} x {columns} pixels, not of {SIDE} x {SIDE}")
    if len(labels.array) != n:
        raise broken(labels_path, f"holds {len(labels.array)} labels, but `{images_path}` holds {n} images")
    if n and labels.array.max() > 9:
        row = int(np.argmax(labels.array > 9))
        raise broken(labels_path, f"holds the label {labels.array[row]} at position {row}; labels are 0 to 9")
    if known_images and not known_labels:
        raise broken(labels_path, f"does not hold the published labels of the images in `{images_path}`")
    if not known_images:
        progress.note(f"{which.name}: `{images_path}` is not the published file")
    first, last = _rows(split, n)
    pixels = images.array[first:last, np.newaxis]
    return array_source(pixels, labels.array[first:last], which.class_names, canonical=known_images and known_labels)


def _rows(split: Split, n: int) -> tuple[int, int]:
    train = n - n // VALIDATION_PART
    return {"train": (0, train), "validation": (train, n), "test": (0, n)}[split]


def _find(which: IdxSet, name: str, folder: Path, fetch: Fetch | None, beside: Path | None = None) -> Path:
    """The file raw or with `.gz`, beside the one found before, else in one of the folders of the set."""
    folders = [beside.parent] if beside is not None else [folder / part for part in which.folders]
    for place in folders:
        for path in (place / name, place / f"{name}.gz"):
            if path.exists():
                return path
    if fetch is not None:
        return fetch(name)
    raise DataError(
        f"`{name}` (or `{name}.gz`) of {which.name} is not in `{folders[0] if beside is not None else folder}`",
        hint=f"the data folder must hold the four idx files of {which.name}, in it or in its folder "
        f"`{which.folders[0]}`; leave it out to download them",
    )


def _known(path: Path, content: bytes, name: str, file: str) -> bool:
    """Whether the content is the published one of this file.

    Raises:
        DataError: it is that of another file.
    """
    owner = IDX_CONTENTS.get(hashlib.sha256(content).hexdigest())
    if owner is not None and owner != (name, file):
        raise broken(
            path,
            f"holds `{owner[1]}` of {owner[0]}, not `{file}` of {name}",
            hint=f"put the files of each set into a folder of its own, such as `{name}/`",
        )
    return owner is not None

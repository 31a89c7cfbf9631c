"""`folder:PATH`: the user's own images, a folder a class; with `train/` and `test/` above them, or without."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from robench.data.dataset import Labels, Source
from robench.data.files import broken, reading
from robench.data.images import SUFFIXES, image_source, layout_of
from robench.data.splits import holdout, mixed, stratified
from robench.progress import Progress
from robench.specs.data import Split

TRAIN, VALIDATION, TEST = "train", "validation", "test"


class Listing(NamedTuple):
    """The images below a folder of class folders, sorted by class and then by file name.

    Fields:
        class_names: names of the class folders, sorted.
        paths: the files.
        labels: (N,) position of the class in `class_names`.
    """

    class_names: tuple[str, ...]
    paths: list[Path]
    labels: Labels


def folder(split: Split, path: Path, progress: Progress) -> Source:
    """A split of PNG or JPEG images of one size and mode, (N, C, H, W) uint8, in a fixed mixed order.

    Classes are numbered in the order of their sorted folder names. Without `train/` and `test/` the splits are a seeded
    stratified 70/10/20; with them, `validation/` or a seeded stratified tenth of the training set validates.

    Raises:
        DataError: the folder or a file is missing, broken, of another size, or no image.
    """
    if not path.is_dir():
        raise broken(path, "is not a folder", hint="name a folder that holds a folder of images for each class")
    if not (path / TRAIN).is_dir() and not (path / TEST).is_dir():
        listing = _list(path, None)
        rows = stratified(listing.labels)[split]
    else:
        training = _list(path / TRAIN, None)
        if split == TEST or (split == VALIDATION and (path / VALIDATION).is_dir()):
            listing = _list(path / split, training.class_names)
            rows = np.arange(len(listing.paths))
        else:
            listing = training
            whole = (path / VALIDATION).is_dir()
            rows = np.arange(len(listing.paths)) if whole else holdout(listing.labels)[split]
    rows = mixed(rows)
    paths = [listing.paths[row] for row in rows]
    layout = layout_of(listing.paths[0])
    return image_source(paths, listing.labels[rows], listing.class_names, layout, progress=progress)


def _list(path: Path, class_names: tuple[str, ...] | None) -> Listing:
    """The images below `path`; its class folders must be among `class_names`, where those are given."""
    with reading(path):
        found = tuple(sorted(item.name for item in path.iterdir() if item.is_dir() and not _hidden(item)))
    if class_names is None:
        class_names = found
        if len(class_names) < 2:
            text = f"holds {len(class_names)} class folders"
            raise broken(path, text, hint="put the images of each class into a folder of its own; two or more")
    unknown = sorted(set(found) - set(class_names))
    if unknown:
        text = f"is a class that the training images lack (they have {', '.join(class_names)})"
        raise broken(path / unknown[0], text, hint="use the same class folders in each split")
    paths: list[Path] = []
    labels: list[int] = []
    for name in found:
        images = _images(path / name)
        paths += images
        labels += [class_names.index(name)] * len(images)
    if not paths:
        raise broken(path, "holds no class folders", hint="put the images of each class into a folder of its own")
    return Listing(class_names, paths, np.array(labels, dtype=np.int64))


def _images(path: Path) -> list[Path]:
    """The image files of a class folder, by name; what is no image is refused, not passed over."""
    with reading(path):
        items = sorted(item for item in path.iterdir() if not _hidden(item))
    for item in items:
        if item.suffix.lower() not in SUFFIXES or not item.is_file():
            raise broken(item, "is no PNG or JPEG file", hint="leave nothing but images in a class folder")
    if not items:
        raise broken(path, "holds no images", hint="fill it or remove it")
    return items


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")

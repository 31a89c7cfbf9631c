"""`folder:PATH`: the user's own images, a folder a class; with `train/` and `test/` above them, or without."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from robench.data.clutter import is_clutter
from robench.data.dataset import Labels, Source
from robench.data.decoding import SUFFIXES, Layout
from robench.data.files import broken, reading
from robench.data.images import image_source, layout_of
from robench.data.names import SPLIT_NAMES, same_but_for_capitals, split_of, splits_found
from robench.data.splits import holdout, mixed, stratified
from robench.progress import Progress
from robench.specs.data import Split

CLASS_FOLDERS = "put the images of each class into a folder of its own; two or more"


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

    Classes are numbered in the order of their sorted folder names, of the training images where there are any. Without
    folders for the splits (`names.SPLIT_NAMES`) these are a seeded stratified 70/10/20; with them, a seeded stratified
    tenth of the training set validates where there is no folder for it.

    Args:
        split: which part.
        path: of the folder.
        progress: who is told.

    Raises:
        DataError: the folder or a file is missing, broken, of another size, or no image.
    """
    if not path.is_dir():
        raise broken(path, "is not a folder", hint="name a folder that holds a folder of images for each class")
    parts = _split_folders(path, progress)
    if not parts:
        listing = _list(path, None, progress)
        rows = stratified(listing.labels)[split]
        expected = layout_of(listing.paths[0])
    else:
        listing, expected = _list_split(split, path, parts, progress)
        held_out = split != "test" and "validation" not in parts
        rows = holdout(listing.labels)[split] if held_out else np.arange(len(listing.paths))
    rows = mixed(rows)
    paths = [listing.paths[row] for row in rows]
    return image_source(paths, listing.labels[rows], listing.class_names, expected, progress=progress)


def _list_split(split: Split, path: Path, parts: dict[Split, Path], progress: Progress) -> tuple[Listing, Layout]:
    """The images that a split is taken from, and what each must be: the same in all splits.

    A split that is evaluated needs no training images; its own classes then are all that is known.
    """
    whole: Split = split if split == "test" or split in parts else "train"
    own = _part(path, parts, whole)
    if whole == "train" or "train" not in parts:
        listing = _list(own, None, progress)
        if whole != "train":
            progress.note(
                f"`{path}` holds no training images: classes are numbered from those of the {split} split alone"
            )
        return listing, layout_of(listing.paths[0])
    training = _list(parts["train"], None, progress)
    return _list(own, training.class_names, progress), layout_of(training.paths[0])


def _split_folders(path: Path, progress: Progress) -> dict[Split, Path]:
    """The folders of the splits; none where the class folders lie directly in `path`.

    A folder is that of a split by its name and by holding folders: `train` with images in it may be a class.
    """
    found = _folders(path)
    parts = splits_found(found, path)
    nested = {split for split, part in parts.items() if _folders(part)}
    if not nested:
        if parts and len(parts) == len(found):
            names = ", ".join(f"`{part.name}`" for part in parts.values())
            raise broken(path, f"holds {names} without class folders in them", hint=CLASS_FOLDERS)
        return {}
    others = [item.name for item in found if split_of(item.name) is None]
    if others:
        progress.note(f"`{path}`: not of any split and passed over: {', '.join(others)}")
    return parts


def _part(path: Path, parts: dict[Split, Path], split: Split) -> Path:
    if split not in parts:
        known = " or ".join(f"`{name}`" for name in SPLIT_NAMES[split])
        text = f"holds no folder for the {split} split, only {', '.join(f'`{part.name}`' for part in parts.values())}"
        raise broken(path, text, hint=f"name the folder {known}, and put a folder for each class into it")
    return parts[split]


def _list(path: Path, class_names: tuple[str, ...] | None, progress: Progress) -> Listing:
    """The images below `path`; its class folders must be among `class_names`, where those are given."""
    found = tuple(item.name for item in _folders(path))
    _check_loose_images(path)
    twins = same_but_for_capitals(found)
    if twins:
        text = f"holds the class folders {' and '.join(f'`{name}`' for name in twins)}, which differ in capitals only"
        raise broken(path, text, hint="bring them together in one folder, or give them names of their own")
    if class_names is None:
        class_names = found
        if len(class_names) < 2:
            raise broken(path, f"holds {len(class_names)} class folders", hint=CLASS_FOLDERS)
        _note_order(path, class_names, progress)
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
        raise broken(path, "holds no class folders", hint=CLASS_FOLDERS)
    absent = [name for name in class_names if name not in found]
    if absent:
        progress.note(f"`{path}` holds no images of the classes {', '.join(absent)}")
    return Listing(class_names, paths, np.array(labels, dtype=np.int64))


def _note_order(path: Path, class_names: tuple[str, ...], progress: Progress) -> None:
    """Names that are numbers look as if they numbered the classes; say so where they do not."""
    if all(name.isdecimal() for name in class_names) and [int(name) for name in class_names] != list(
        range(len(class_names))
    ):
        pairs = ", ".join(f"class {number} is `{name}`" for number, name in enumerate(class_names))
        progress.note(f"`{path}`: classes are numbered in the sorted order of their folder names: {pairs}")


def _check_loose_images(path: Path) -> None:
    """Refuse images beside the class folders: they belong to no class, and nobody would miss them in the counts."""
    for item in _items(path):
        if item.suffix.lower() in SUFFIXES and not item.is_dir():
            raise broken(item, "is an image outside of the class folders", hint="move it into the folder of its class")


def _images(path: Path) -> list[Path]:
    """The image files of a class folder, by name; what is no image is refused, not passed over."""
    items = _items(path)
    for item in items:
        if item.is_dir():
            reason = "is a folder within a class folder"
        elif not item.exists():
            reason = "is a link to nothing"
        elif item.suffix.lower() not in SUFFIXES or not item.is_file():
            reason = "is no PNG or JPEG file"
        else:
            continue
        raise broken(item, reason, hint="leave nothing but images in a class folder; move the rest elsewhere")
    if not items:
        raise broken(path, "holds no images", hint="put its images in, or move the empty folder elsewhere")
    return items


def _folders(path: Path) -> list[Path]:
    return [item for item in _items(path) if item.is_dir()]


def _items(path: Path) -> list[Path]:
    """What is in a folder, by name, without hidden files and those that systems leave behind."""
    with reading(path):
        return sorted((item for item in path.iterdir() if not is_clutter(item.name)), key=lambda item: item.name)

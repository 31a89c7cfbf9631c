"""`npz:PATH`: the user's own arrays `x`, `y`, or `x_train`, `y_train`, `x_test`, `y_test`. Nothing is unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from robench.data.dataset import Inputs, Labels, Source, array_source
from robench.data.files import broken, reading
from robench.data.labels import class_names, class_numbers
from robench.data.members import WRITE_AGAIN, keys, member_shape, read_member
from robench.data.names import split_of
from robench.data.pixels import input_shape, pixels
from robench.data.splits import holdout, mixed, stratified
from robench.progress import Progress
from robench.specs.data import Split

ARRAYS = (
    "it must hold either the arrays `x` and `y`, or those of the splits: `x_train`, `y_train`, `x_test`, `y_test` (the "
    "last two alone where nothing is trained), and `x_val`, `y_val` where there are some"
)
NPY_MAGIC = b"\x93NUMPY"


class Pair(NamedTuple):
    """Names of the arrays of inputs and labels."""

    x: str
    y: str


def npz(split: Split, path: Path, progress: Progress) -> Source:
    """A split of the arrays in an npz file: uint8 or float pixels, or points with coordinates in [0, 1].

    With `x` and `y` alone the splits are a seeded stratified 70/10/20, in mixed order; with arrays for the splits the
    order stays, and a seeded stratified tenth of the training set validates where there is no validation set.

    Args:
        split: which part.
        path: of the file.
        progress: who is told.

    Raises:
        DataError: the file is missing, truncated or no such file; the arrays are wrongly shaped, out of range or
            mislabelled.
    """
    if path.is_dir():
        raise broken(path, "is a folder", hint="name an npz file, or write `folder:PATH` for folders of images")
    try:
        with reading(path, hint=WRITE_AGAIN), path.open("rb") as file:
            if file.peek(len(NPY_MAGIC)).startswith(NPY_MAGIC):
                text = "is one array (npy), not a file of several (npz)"
                raise broken(path, text, hint="write inputs and labels together: `numpy.savez(PATH, x=..., y=...)`")
            with zipfile.ZipFile(file) as archive:
                return _source(split, archive, path, progress)
    except (zipfile.BadZipFile, RuntimeError, ValueError) as error:
        raise broken(path, f"is truncated or no npz file: {error}", hint=WRITE_AGAIN) from None


def _source(split: Split, archive: zipfile.ZipFile, path: Path, progress: Progress) -> Source:
    found = keys(archive, path)
    pairs = _pairs(found, path)
    used = {key for pair in pairs.values() for key in pair} if pairs else {"x", "y"}
    if found - used:
        progress.note(f"`{path}`: arrays that are not used: {', '.join(sorted(found - used))}")
    if not pairs:
        y = class_numbers(read_member(archive, "y", path), "y", path, progress)
        x = _inputs(archive, "x", y, path)
        rows = mixed(stratified(y)[split])
        return array_source(x[rows], y[rows], class_names(path, y))
    whole: Split = split if split in pairs or split == "test" else "train"
    if whole not in pairs:
        held = ", ".join(f"`{key}`" for pair in pairs.values() for key in pair)
        raise broken(path, f"holds no arrays for the {whole} split, only {held}", hint=ARRAYS)
    _check_one_shape(archive, pairs, path)
    labels = {
        part: class_numbers(read_member(archive, pair.y, path), pair.y, path, progress) for part, pair in pairs.items()
    }
    names = class_names(path, np.concatenate(list(labels.values())))
    _note_absent(path, pairs, labels, len(names), progress)
    if "train" not in pairs:
        progress.note(f"`{path}` holds no training arrays: its classes are those of the arrays that it holds")
    x, y = _inputs(archive, pairs[whole].x, labels[whole], path), labels[whole]
    if whole == "train" and "validation" not in pairs:
        rows = holdout(y)[split]
        x, y = x[rows], y[rows]
    return array_source(x, y, names)


def _pairs(found: Iterable[str], path: Path) -> dict[Split, Pair]:
    """The arrays of each split; empty where `x` and `y` are all there is.

    Raises:
        DataError: an array lacks its partner, two mean the same, or the two ways are mixed.
    """
    names: dict[tuple[str, Split], str] = {}
    for key in sorted(found):
        head, _, suffix = key.partition("_")
        letter, split = head.lower(), split_of(suffix)
        if letter not in ("x", "y") or split is None:
            continue
        if (letter, split) in names:
            text = f"holds `{names[letter, split]}` and `{key}`, which both mean the {split} split"
            raise broken(path, text, hint="store one of them")
        names[letter, split] = key
    splits = {split for _, split in names}
    alone = {"x", "y"}.issubset(found)
    lacking = [split for split in splits if ("x", split) not in names or ("y", split) not in names]
    if lacking or alone == bool(splits):
        held = ", ".join(f"`{key}`" for key in sorted(found)) or "nothing"
        raise broken(path, f"holds {held}", hint=ARRAYS)
    return {split: Pair(names["x", split], names["y", split]) for split in sorted(splits)}


def _check_one_shape(archive: zipfile.ZipFile, pairs: dict[Split, Pair], path: Path) -> None:
    """Refuse splits whose inputs differ in shape: a model of the one is none of the other."""
    keys_of_x = [pair.x for pair in pairs.values()]
    shapes = [input_shape(member_shape(archive, key, path), key, path) for key in keys_of_x]
    for key, shape in zip(keys_of_x, shapes, strict=True):
        if shape != shapes[0]:
            text = f"holds inputs of shape {shapes[0]} in `{keys_of_x[0]}`, but of shape {shape} in `{key}`"
            raise broken(path, text, hint="bring the inputs of all splits to one shape")


def _note_absent(
    path: Path, pairs: dict[Split, Pair], labels: dict[Split, Labels], classes: int, progress: Progress
) -> None:
    """Say which classes a split lacks: rates on it, or a model trained on it, say nothing of them."""
    for split, y in labels.items():
        absent = sorted(set(range(classes)) - set(y.tolist()))
        if absent:
            text = ", ".join(map(str, absent[:5])) + (", …" if len(absent) > 5 else "")
            progress.note(f"`{path}`: `{pairs[split].y}` holds no row of class {text}")


def _inputs(archive: zipfile.ZipFile, key: str, labels: Labels, path: Path) -> Inputs:
    array = pixels(read_member(archive, key, path), key, path)
    if len(array) != len(labels):
        raise broken(
            path, f"holds {len(array)} inputs in `{key}` and {len(labels)} labels", hint="store one label an input"
        )
    return array

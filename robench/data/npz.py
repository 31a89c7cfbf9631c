"""`npz:PATH`: the user's own arrays `x`, `y`, or `x_train`, `y_train`, `x_test`, `y_test`. Nothing is unpickled."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from robench.data.dataset import Inputs, Labels, Source, array_source
from robench.data.files import DEFLATE_RATIO, broken, reading
from robench.data.splits import holdout, mixed, stratified
from robench.specs.data import Split

ONE_SPLIT = ("x", "y")
TWO_SPLITS = ("x_train", "y_train", "x_test", "y_test")
COLOURS = (1, 3)
RATIOS = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: DEFLATE_RATIO, zipfile.ZIP_LZMA: 1 << 14}
"""The most that one packed byte can expand to, by kind of packing."""


def npz(split: Split, path: Path) -> Source:
    """A split of the arrays in an npz file: uint8 or float pixels, or points with coordinates in [0, 1].

    With `x` and `y` alone the splits are a seeded stratified 70/10/20, in mixed order; with a test set of its own, a
    seeded stratified tenth of the training set validates, and the order stays.

    Raises:
        DataError: the file is missing, truncated or no such file; the arrays are wrongly shaped, out of range or
            mislabelled.
    """
    try:
        with reading(path), zipfile.ZipFile(path) as archive:
            return _source(split, archive, path)
    except (zipfile.BadZipFile, RuntimeError) as error:
        raise broken(path, f"is truncated or no npz file: {error}") from None


def _source(split: Split, archive: zipfile.ZipFile, path: Path) -> Source:
    keys = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
    one, two = keys.issuperset(ONE_SPLIT), keys.issuperset(TWO_SPLITS)
    if one == two:
        raise broken(
            path,
            f"holds {', '.join(f'`{key}`' for key in sorted(keys)) or 'nothing'}",
            hint="it must hold the arrays `x` and `y`, or `x_train`, `y_train`, `x_test` and `y_test`, not both",
        )
    if one:
        labels = _labels(archive, "y", path)
        class_names = _class_names(path, labels)
        rows = mixed(stratified(labels)[split])
        inputs = _inputs(archive, "x", len(labels), path)
        return array_source(inputs[rows], labels[rows], class_names)
    y_train, y_test = _labels(archive, "y_train", path), _labels(archive, "y_test", path)
    class_names = _class_names(path, np.concatenate([y_train, y_test]))
    if split == "test":
        return array_source(_inputs(archive, "x_test", len(y_test), path), y_test, class_names)
    rows = holdout(y_train)[split]
    return array_source(_inputs(archive, "x_train", len(y_train), path)[rows], y_train[rows], class_names)


def _inputs(archive: zipfile.ZipFile, key: str, n: int, path: Path) -> Inputs:
    array = _with_channels(_member(archive, key, path), key, path)
    if len(array) != n:
        raise broken(path, f"holds {len(array)} inputs in `{key}` and {n} labels")
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f":
        hint = "store uint8 pixels 0 to 255, or floats from 0 to 1"
        raise broken(path, f"holds `{key}` of type {array.dtype}", hint=hint)
    if not np.isfinite(array).all():
        raise broken(path, f"holds values in `{key}` that are not finite", hint="remove NaN and infinity")
    if array.min() < 0 or array.max() > 1:
        text = f"holds values from {array.min():g} to {array.max():g} in `{key}`"
        raise broken(path, text, hint="store uint8 pixels 0 to 255, or floats from 0 to 1")
    return array.astype(np.float32)


def _with_channels(array: npt.NDArray[Any], key: str, path: Path) -> npt.NDArray[Any]:
    """Images as (N, C, H, W); (N, d) stays."""
    shape = array.shape
    if min(shape, default=0) > 0:
        if len(shape) == 2:
            return array
        if len(shape) == 3:
            return array[:, np.newaxis]
        first, last = len(shape) == 4 and shape[1] in COLOURS, len(shape) == 4 and shape[3] in COLOURS
        if first != last:
            return array if first else np.moveaxis(array, -1, 1)
        if first:
            hint = "either axis could be the colours; make the other one larger, or store (N, H, W) for grey"
            raise broken(path, f"holds `{key}` of shape {shape}, which is ambiguous", hint=hint)
    hint = "store (N, H, W), (N, H, W, C), (N, C, H, W) with 1 or 3 colours, or (N, d)"
    raise broken(path, f"holds `{key}` of shape {shape}", hint=hint)


def _labels(archive: zipfile.ZipFile, key: str, path: Path) -> Labels:
    array = _member(archive, key, path)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        text = f"holds `{key}` of type {array.dtype} and shape {array.shape}"
        raise broken(path, text, hint="labels are whole numbers of shape (N,)")
    if not len(array):
        raise broken(path, f"holds no labels in `{key}`", hint="store at least one image of each class")
    if array.min() < 0 or array.max() > np.iinfo(np.int64).max:
        raise broken(
            path, f"holds labels from {array.min()} to {array.max()} in `{key}`", hint="number the classes from 0 up"
        )
    return array.astype(np.int64)


def _class_names(path: Path, labels: Labels) -> tuple[str, ...]:
    """The numbers of the classes, which must be 0..q-1 without a gap."""
    present = np.unique(labels)
    if not np.array_equal(present, np.arange(len(present))):
        held = set(present.tolist())
        gaps = [str(label) for label in range(len(held)) if label not in held][:5]
        text = f"holds labels up to {present[-1]}, but none of class {', '.join(gaps)}"
        raise broken(path, text, hint="number the classes from 0 up without a gap")
    if len(present) < 2:
        raise broken(path, "holds one class only", hint="a classifier needs two or more")
    return tuple(str(label) for label in present)


def _member(archive: zipfile.ZipFile, key: str, path: Path) -> npt.NDArray[Any]:
    """One array; what its header promises is held against its size before memory is taken."""
    info = archive.getinfo(f"{key}.npy")
    if info.compress_type not in RATIOS:
        raise broken(path, f"packs `{key}` in an unknown way", hint="write it with `numpy.savez_compressed`")
    if info.file_size > info.compress_size * RATIOS[info.compress_type]:
        raise broken(path, f"promises {info.file_size} bytes for `{key}`, which it cannot hold")
    try:
        with archive.open(info) as file:
            version = npy.read_magic(file)
            read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read_header(file)
            if dtype.hasobject:
                raise broken(path, f"holds Python objects in `{key}`", hint="store plain numbers")
            size = math.prod(shape) * dtype.itemsize
            if file.tell() + size != info.file_size:
                raise broken(path, f"is truncated: `{key}` promises {size} bytes of data")
        with archive.open(info) as file:
            array: npt.NDArray[Any] = npy.read_array(file, allow_pickle=False)
            return array
    except ValueError as error:
        raise broken(path, f"holds no readable array `{key}`: {error}") from None

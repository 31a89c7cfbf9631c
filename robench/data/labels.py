"""Labels as users store them: read if they can mean class numbers in one way only, else refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robench.data.dataset import Labels
from robench.data.files import broken
from robench.progress import Progress

FROM_ZERO = "number the classes from 0 up without a gap"


def class_numbers(array: npt.NDArray[Any], key: str, path: Path, progress: Progress) -> Labels:
    """(N,) classes; also from a column (N, 1), from floats that are whole numbers, and from one-hot rows (N, q).

    Args:
        array: as read.
        key: its name in the file.
        path: of the file.
        progress: who is told of labels that were read as classes.

    Raises:
        DataError: the array may mean something else, or holds a number that is no class.
    """
    held = f"holds `{key}` of type {array.dtype} and shape {array.shape}"
    if array.dtype.kind in "SU":
        hint = f"store the numbers of the classes, as from `numpy.unique({key}, return_inverse=True)[1]`"
        raise broken(path, f"{held}: text, not numbers", hint=hint)
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2):
        raise broken(path, held, hint="labels are whole numbers of shape (N,)")
    if not array.size:
        raise broken(path, f"holds no labels in `{key}`", hint="store at least one image of each class")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        return _from_one_hot(array, held, key, path, progress)
    if array.dtype.kind == "f":
        if not (np.isfinite(array).all() and np.array_equal(array, np.rint(array))):
            raise broken(path, f"{held}, not all of them whole numbers", hint=FROM_ZERO)
        progress.note(f"`{path}`: the whole numbers that `{key}` stores as {array.dtype} are read as classes")
    return _checked(array, key, path)


def class_names(path: Path, labels: Labels) -> tuple[str, ...]:
    """The numbers of the classes, which must be 0..q-1 without a gap.

    Raises:
        DataError: there is a gap, or one class only.
    """
    present = np.unique(labels)
    if not np.array_equal(present, np.arange(len(present))):
        held = set(present.tolist())
        gaps = [str(label) for label in range(len(held)) if label not in held][:5]
        text = f"holds labels up to {present[-1]}, but none of class {', '.join(gaps)}"
        from_one = np.array_equal(present, np.arange(1, len(present) + 1))
        hint = "the labels start at 1: store them less 1, so that class 0 is the first" if from_one else FROM_ZERO
        raise broken(path, text, hint=hint)
    if len(present) < 2:
        raise broken(path, "holds one class only", hint="a classifier needs two or more")
    return tuple(str(label) for label in present)


def _from_one_hot(array: npt.NDArray[Any], held: str, key: str, path: Path, progress: Progress) -> Labels:
    ones = array == 1
    if not (ones | (array == 0)).all() or not (ones.sum(axis=1) == 1).all():
        hint = f"store one class number a row, such as `{key}.argmax(axis=1)` where each row scores the classes"
        raise broken(path, f"{held}, whose rows are not one-hot: one 1 and else 0", hint=hint)
    progress.note(f"`{path}`: the one-hot rows of `{key}` are read as the position of their 1")
    return np.asarray(np.flatnonzero(ones) % array.shape[1], dtype=np.int64)


def _checked(array: npt.NDArray[Any], key: str, path: Path) -> Labels:
    least, most = array.min(), array.max()
    if least < 0 or int(most) >= 2**63:
        signs = array.dtype.kind in "if" and bool(np.isin(array, (-1, 1)).all())
        hint = f"store `({key} + 1) // 2`, so that class 1 is what is now 1" if signs else FROM_ZERO
        raise broken(path, f"holds labels from {least} to {most} in `{key}`", hint=hint)
    return array.astype(np.int64)

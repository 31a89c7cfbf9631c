"""The nearest adversarial of each image, as float32, from which its distance follows exactly. No torch here.

A safetensors file cannot be appended to, so the split is cut into blocks of images, and each block has a file that is
written anew, atomically, before the records that speak of it. Which image is in which file depends on its index alone,
so that the files of a run are the same whoever has written them, in whatever order.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from robench.errors import RunError
from robench.files import create_folder, write_atomic

FOLDER = "adversarials"
BLOCK = 500
"""Images of a file at most; fewer where they are large."""
BLOCK_BYTES = 1 << 26

Point = npt.NDArray[np.float32]


def write_adversarials(run: Path, points: Mapping[int, Point]) -> None:
    """Store the adversarials of some images, by index, in a run folder; the same image may be stored again.

    Raises:
        RunError: the folder cannot be written, or holds a damaged file.
    """
    blocks: dict[Path, dict[int, Point]] = {}
    for index, point in points.items():
        blocks.setdefault(_file(run, index, point), {})[index] = np.ascontiguousarray(point, dtype=np.float32)
    for file, new in blocks.items():
        create_folder(file.parent)
        known = _read(file) | new if file.exists() else new
        indices = sorted(known)
        adversarial = np.stack([known[index] for index in indices])
        write_atomic(file, save({"adversarial": adversarial, "index": np.array(indices, dtype=np.int64)}))


def read_adversarials(run: Path) -> dict[int, Point]:
    """All adversarials of a run folder, by index.

    Raises:
        RunError: a file is damaged.
    """
    found: dict[int, Point] = {}
    for file in sorted((run / FOLDER).glob("*.safetensors")):
        found.update(_read(file))
    return found


def _file(run: Path, index: int, point: Point) -> Path:
    """The file of an image: first and last index that it may hold."""
    size = max(1, min(BLOCK, BLOCK_BYTES // (4 * max(1, point.size))))
    first = index - index % size
    return run / FOLDER / f"{first:08d}-{first + size - 1:08d}.safetensors"


def _read(file: Path) -> dict[int, Point]:
    try:
        tensors = load(file.read_bytes())
        return dict(zip(tensors["index"].tolist(), tensors["adversarial"], strict=True))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise RunError(f"`{file}` cannot be read: {error}", hint="make the run again") from None

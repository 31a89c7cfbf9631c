"""The nearest adversarial of each image, as float32, from which its distance follows exactly. No torch here.

A safetensors file cannot be appended to, so each batch of images gets a file of its own, named by its first and last
index and written atomically before the records that speak of it.
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

Point = npt.NDArray[np.float32]


def write_adversarials(run: Path, points: Mapping[int, Point]) -> None:
    """Store the adversarials of some images, by index, in a run folder; the same image may be stored again.

    Raises:
        RunError: the folder cannot be written.
    """
    if not points:
        return
    folder = run / FOLDER
    create_folder(folder)
    index = np.array(sorted(points), dtype=np.int64)
    adversarial = np.stack([np.ascontiguousarray(points[i], dtype=np.float32) for i in index.tolist()])
    name = f"{index[0]:08d}-{index[-1]:08d}.safetensors"
    write_atomic(folder / name, save({"adversarial": adversarial, "index": index}))


def read_adversarials(run: Path) -> dict[int, Point]:
    """All adversarials of a run folder, by index.

    Raises:
        RunError: a file is damaged.
    """
    found: dict[int, Point] = {}
    for file in sorted((run / FOLDER).glob("*.safetensors")):
        try:
            tensors = load(file.read_bytes())
            found.update(zip(tensors["index"].tolist(), tensors["adversarial"], strict=True))
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise RunError(f"`{file}` cannot be read: {error}", hint="make the run again") from None
    return found

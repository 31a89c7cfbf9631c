"""The nearest adversarial of each image, as float32, from which its distance follows exactly. No torch here.

A safetensors file cannot be appended to, so each chunk of images gets a file of its own, named by its first and last
index and written atomically before the records that speak of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from robench.errors import RunError
from robench.files import create_folder, write_atomic

FOLDER = "adversarials"

Point = npt.NDArray[np.float32]


class AdversarialStore:
    """The adversarials of one run folder, or of none.

    Args:
        folder: the run folder; None keeps the adversarials nowhere.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = None if folder is None else folder / FOLDER

    def write(self, points: Mapping[int, Point]) -> None:
        """Store the adversarials of some images, by index; the same image may be stored again.

        Raises:
            RunError: the folder cannot be written.
        """
        if self.folder is None or not points:
            return
        create_folder(self.folder)
        index = np.array(sorted(points), dtype=np.int64)
        adversarial = np.stack([np.ascontiguousarray(points[i], dtype=np.float32) for i in index.tolist()])
        name = f"{index[0]:08d}-{index[-1]:08d}.safetensors"
        write_atomic(self.folder / name, save({"adversarial": adversarial, "index": index}))

    def read(self) -> dict[int, Point]:
        """All adversarials, by index.

        Raises:
            RunError: a file is damaged.
        """
        return dict(self.items())

    def items(self) -> Iterator[tuple[int, Point]]:
        """Adversarials with their index, file by file.

        Raises:
            RunError: a file is damaged.
        """
        files = sorted(self.folder.glob("*.safetensors")) if self.folder is not None else []
        for file in files:
            try:
                tensors = load(file.read_bytes())
                index, adversarial = tensors["index"].tolist(), tensors["adversarial"]
            except (OSError, SafetensorError, KeyError) as error:
                raise RunError(f"`{file}` cannot be read: {error}", hint="make the run again") from None
            yield from zip(index, adversarial, strict=True)

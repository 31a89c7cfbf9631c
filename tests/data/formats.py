"""Writers of the canonical file formats, from their descriptions: a second implementation beside the readers."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robench.errors import DataError

IDX_NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
CIFAR_FILES = [f"data_batch_{i}.bin" for i in (1, 2, 3, 4, 5)] + ["test_batch.bin"]
ATTRIBUTES = ["5_o_Clock_Shadow", "Eyeglasses", "Smiling"]


def idx_bytes(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_idx_set(folder, *, train=12, test=5, packed=False, seed=0):
    """Random images in MNIST's four files; the images and labels by split."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    written = {}
    for split, n in (("train", train), ("test", test)):
        images = random.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        for name, array in zip(IDX_NAMES[split], (images, labels), strict=True):
            content = idx_bytes(array)
            target = folder / (f"{name}.gz" if packed else name)
            target.write_bytes(gzip.compress(content) if packed else content)
        written[split] = images, labels
    return written


def cifar_bytes(images, labels):
    """One label byte, then the planes, an image at a time."""
    return b"".join(bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True))


def write_cifar(folder, *, per_batch=4, test=3, seed=0):
    """Random images in the six files; all training images and labels, then the test ones."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    written = []
    for name in CIFAR_FILES:
        n = test if name == "test_batch.bin" else per_batch
        images = random.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)
        labels = random.integers(0, 10, n)
        (folder / name).write_bytes(cifar_bytes(images, labels))
        written.append((images, labels))
    train = tuple(np.concatenate([part[i] for part in written[:5]]) for i in (0, 1))
    return {"train": train, "test": written[5]}


def write_tar(path, members, mode="w:gz"):
    """A tar of (name, bytes or TarInfo)."""
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def write_image(path, pixels, **options):
    """An (H, W) or (H, W, 3) uint8 array as the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def write_celeba(folder, glasses, *, size=(178, 218), seed=0):
    """Faces whose left upper pixel area is noise, and the attribute list; `glasses` holds booleans in file order."""
    random = np.random.default_rng(seed)
    lines = [str(len(glasses)), " ".join(ATTRIBUTES) + " "]
    for number, wears in enumerate(glasses, start=1):
        name = f"{number:06d}.jpg"
        pixels = np.full((size[1], size[0], 3), random.integers(0, 256, 3, dtype=np.uint8), dtype=np.uint8)
        write_image(folder / "img_align_celeba" / name, pixels)
        lines.append(f"{name}  -1 {'1' if wears else '-1':>2}  1")
    (folder / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")


def write_class_folders(folder, counts, *, suffix=".png", shape=(6, 5, 3), seed=0):
    """Random images in class folders; pixels by relative path."""
    random = np.random.default_rng(seed)
    written = {}
    for name, n in counts.items():
        for i in range(n):
            pixels = random.integers(0, 256, shape, dtype=np.uint8)
            write_image(folder / name / f"{i:03d}{suffix}", pixels)
            written[f"{name}/{i:03d}{suffix}"] = pixels
    return written


class Told:
    """A progress sink that remembers."""

    def __init__(self):
        self.stages, self.steps, self.notes = [], [], []

    def start(self, label, total):
        self.stages.append((label, total))
        self.steps.append(0)

    def advance(self, steps=1, **facts):
        self.steps[-1] += steps

    def note(self, text):
        self.notes.append(text)

    def close(self):
        pass


def real_data() -> Path | None:
    """The folder of real data sets, where there is one."""
    given = os.environ.get("ROBENCH_TEST_DATA")
    folder = Path(given) if given else Path(__file__).resolve().parents[2].parent / "shared" / "data"
    return folder if folder.is_dir() else None


def hint_of_refusal(action, *parts: str) -> str:
    """The hint of the `DataError` that an action must raise; its message has all these parts."""
    with pytest.raises(DataError) as caught:
        action()
    for part in parts:
        assert part in caught.value.message
    assert caught.value.hint
    return caught.value.hint


def refusal(action) -> str | None:
    """The message of the `DataError` that an action raises; None where it goes through; other errors pass."""
    try:
        action()
    except DataError as error:
        return error.message
    return None

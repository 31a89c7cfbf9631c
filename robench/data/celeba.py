"""`celeba`: eyeglasses or none, centered faces of 128 x 128, from the canonical layout.

Z. Liu, P. Luo, X. Wang, X. Tang, http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html: `img_align_celeba/` with JPEG
files of 178 x 218, and `list_attr_celeba.txt`: number of images, 40 attribute names, then a file name and 40 times 1 or
-1 a line.

The paper takes 16 914 images to train and 16 914 to test, 38 % of each with eyeglasses, and does not say which; the
official test part holds too few eyeglasses for that. So: per class in file order, the first ones train, the last ones
test, what lies between validates in the same proportion. With fewer images, as many as this rule allows.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robench.data.dataset import Labels, Rows, Source
from robench.data.decoding import Layout
from robench.data.files import broken, reading
from robench.data.images import image_source
from robench.errors import DataError
from robench.progress import Progress
from robench.specs.data import Split

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

ATTRIBUTE = "Eyeglasses"
CLASS_NAMES = ("no eyeglasses", "eyeglasses")
LAYOUT = Layout(178, 218, "RGB")
SIDE = 128
CROP = (0, 20, 178, 198)
"""The centered square of an aligned face: left, upper, right, lower."""
PER_SPLIT = 16_914
WITH_EYEGLASSES = 6_427
"""38 % of 16 914."""
WITHOUT = PER_SPLIT - WITH_EYEGLASSES
HELD_BACK = 50
"""One in so many of each class is kept for validation where images are scarce."""
COUNT = re.compile(r"[0-9]{1,9}")
FILE_NAME = re.compile(r"[^/\\\x00]+\.jpg")
FOLDERS = ("celeba", "CelebA", ".")
HINT = (
    "the data folder must hold `img_align_celeba/` and `list_attr_celeba.txt`, in it or in `celeba/`; get them from "
    "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
)


def celeba(split: Split, folder: Path, progress: Progress) -> Source:
    """A split of CelebA, (N, 3, 128, 128) uint8, class 1 with eyeglasses.

    Args:
        split: which part.
        folder: holds the data set's own files.
        progress: who is told.

    Raises:
        DataError: a file is missing, truncated, wrongly shaped or mislabelled, or there are too few images.
    """
    attributes, images = _find(folder)
    names, labels = read_attributes(attributes)
    rows = split_rows(labels)[split]
    if not len(rows):
        raise broken(attributes, f"lists too few images for a {split} split: both classes are needed", hint=HINT)
    paths = [images / names[row] for row in rows]
    return image_source(paths, labels[rows], CLASS_NAMES, LAYOUT, transform=_centered, progress=progress)


def read_attributes(path: Path) -> tuple[list[str], Labels]:
    """File names and whether each face wears eyeglasses.

    Raises:
        DataError: the file is missing, truncated or not in the canonical form.
    """
    with reading(path):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if len(lines) < 2 or not COUNT.fullmatch(lines[0].strip()):
        raise broken(path, "must start with the number of images and the names of the attributes")
    columns, rows = lines[1].split(), [line.split() for line in lines[2:] if line.strip()]
    if columns.count(ATTRIBUTE) != 1:
        raise broken(path, f"names the attribute `{ATTRIBUTE}` {columns.count(ATTRIBUTE)} times, not once")
    if len(rows) != int(lines[0]):
        raise broken(path, f"is truncated or too long: it promises {int(lines[0])} images and lists {len(rows)}")
    column = 1 + columns.index(ATTRIBUTE)
    for number, row in enumerate(rows, start=3):
        if len(row) != 1 + len(columns) or not FILE_NAME.fullmatch(row[0]) or row[column] not in ("1", "-1"):
            raise broken(path, f"line {number} is not a file name and {len(columns)} times 1 or -1")
    names = [row[0] for row in rows]
    if len(set(names)) != len(names):
        raise broken(path, "lists an image twice")
    return names, np.array([row[column] == "1" for row in rows], dtype=np.int64)


def split_rows(labels: Labels) -> dict[Split, Rows]:
    """Rows of the three splits in file order, each with the paper's proportion of eyeglasses.

    Args:
        labels: (N,) 1 with eyeglasses, in file order.
    """
    glasses, others = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    n_glasses = min(WITH_EYEGLASSES, _half(len(glasses)), _half(len(others)) * WITH_EYEGLASSES // WITHOUT)
    n_others = round(n_glasses * WITHOUT / WITH_EYEGLASSES)
    between = glasses[n_glasses : len(glasses) - n_glasses]
    rest = others[n_others : len(others) - n_others][: round(len(between) * WITHOUT / WITH_EYEGLASSES)]
    return {
        "train": np.sort(np.concatenate([glasses[:n_glasses], others[:n_others]])),
        "validation": np.sort(np.concatenate([between, rest])),
        "test": np.sort(np.concatenate([glasses[len(glasses) - n_glasses :], others[len(others) - n_others :]])),
    }


def _half(n: int) -> int:
    """What one of two equal splits may take of n images of a class."""
    return (n - n // HELD_BACK) // 2


def _find(folder: Path) -> tuple[Path, Path]:
    """The attribute file and the folder of images: side by side, or in `Anno` and `Img` as they are distributed."""
    for part in FOLDERS:
        for texts, images in ((".", "."), ("Anno", "Img")):
            attributes = folder / part / texts / "list_attr_celeba.txt"
            if attributes.exists():
                place = folder / part / images / "img_align_celeba"
                if not place.is_dir():
                    raise DataError(f"the folder `{place}` does not exist", hint=HINT)
                return attributes, place
    raise DataError(f"`list_attr_celeba.txt` is not in `{folder}`", hint=HINT)


def _centered(image: PILImage) -> PILImage:
    from PIL import Image

    return image.crop(CROP).resize((SIDE, SIDE), Image.Resampling.BILINEAR)

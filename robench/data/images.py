"""Sets of image files: each file checked by its header, and decoded only when its row is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from robench.data.dataset import PIXEL_BOUNDS, Inputs, Labels, Rows, Source
from robench.data.decoding import HINT, Layout, layout, opened, plain, turned
from robench.data.files import broken, reading
from robench.progress import Progress

if TYPE_CHECKING:
    from PIL.Image import Image


def layout_of(path: Path) -> Layout:
    """Size and mode of an image file, from its header.

    Raises:
        DataError: not an 8-bit grey or RGB image in PNG or JPEG.
    """
    with opened(path, _content(path)) as image:
        return layout(image)


def image_source(
    paths: Sequence[Path],
    labels: Labels,
    class_names: tuple[str, ...],
    expected: Layout,
    *,
    transform: Callable[[Image], Image] | None = None,
    progress: Progress,
) -> Source:
    """A split of image files; its SHA-256 is of the bytes of the files, and of the labels.

    Args:
        paths: the files, a row each.
        labels: (N,) classes.
        class_names: q names.
        expected: what each file must be.
        transform: applied to each decoded image.
        progress: told about the files while they are checked.

    Raises:
        DataError: a file is missing, broken or of another layout.
    """
    hasher = hashlib.sha256()
    n_turned = 0
    progress.start("checking images", len(paths))
    for path in paths:
        content = _content(path)
        with opened(path, content) as image:
            _check_layout(path, image, expected)
            n_turned += turned(image)
        hasher.update(len(content).to_bytes(8, "little"))
        hasher.update(content)
        progress.advance()
    hasher.update(labels.astype("<i8").tobytes())
    if n_turned:
        progress.note(
            f"{n_turned} of {len(paths)} images carry an EXIF orientation, which is not applied: their pixels are "
            "taken as stored, not as a viewer shows them"
        )

    def read(rows: Rows, told: Progress) -> Inputs:
        told.start("decoding images", len(rows))
        first = _decode(paths[rows[0]], expected, transform)
        images = np.empty((len(rows), *first.shape), dtype=np.uint8)
        for place, row in enumerate(rows):
            images[place] = _decode(paths[row], expected, transform)
            told.advance()
        return images

    return Source(labels, class_names, PIXEL_BOUNDS, hasher.hexdigest(), read)


def _content(path: Path) -> bytes:
    with reading(path, hint=HINT):
        return path.read_bytes()


def _decode(path: Path, expected: Layout, transform: Callable[[Image], Image] | None) -> npt.NDArray[np.uint8]:
    """One image, (C, H, W)."""
    with opened(path, _content(path)) as image:
        _check_layout(path, image, expected)
        stored = plain(path, image)
        pixels = np.asarray(stored if transform is None else transform(stored), dtype=np.uint8)
    return pixels[np.newaxis] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


def _check_layout(path: Path, image: Image, expected: Layout) -> None:
    found = layout(image)
    if found != expected:
        raise broken(path, f"has {found}; this set has {expected}", hint="bring all images to one size and one mode")

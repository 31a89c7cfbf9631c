"""Image files, PNG and JPEG: each checked by its header, decoded only when its row is asked for."""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from robench.data.dataset import PIXEL_BOUNDS, Inputs, Labels, Rows, Source
from robench.data.files import broken, reading
from robench.progress import Progress

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG")
SUFFIXES = (".png", ".jpg", ".jpeg")
CHANNELS = {"L": 1, "RGB": 3}
MOST_PIXELS = 1 << 24
"""An image of more pixels is refused before it is decoded: no classifier here takes it."""


class Layout(NamedTuple):
    """What every image of a set must be.

    Fields:
        width, height: pixels.
        mode: `L` (grey) or `RGB`.
    """

    width: int
    height: int
    mode: str

    def __str__(self) -> str:
        return f"{self.width} x {self.height} pixels, {'grey' if self.mode == 'L' else 'RGB'}"


def layout_of(path: Path) -> Layout:
    """Size and mode of an image file, from its header.

    Raises:
        DataError: not an 8-bit grey or RGB image in PNG or JPEG.
    """
    with reading(path):
        content = path.read_bytes()
    with _opened(path, content) as image:
        return Layout(*image.size, image.mode)


def image_source(
    paths: Sequence[Path],
    labels: Labels,
    class_names: tuple[str, ...],
    layout: Layout,
    *,
    transform: Callable[[Image], Image] | None = None,
    progress: Progress,
) -> Source:
    """A split of image files; its SHA-256 is of the bytes of the files, and of the labels.

    Args:
        paths: the files, a row each.
        labels: (N,) classes.
        class_names: q names.
        layout: what each file must be.
        transform: applied to each decoded image.
        progress: told about the files while they are checked.

    Raises:
        DataError: a file is missing, broken or of another layout.
    """
    hasher = hashlib.sha256()
    progress.start("checking images", len(paths))
    for path in paths:
        with reading(path):
            content = path.read_bytes()
        with _opened(path, content) as image:
            _check_layout(path, image, layout)
        hasher.update(len(content).to_bytes(8, "little"))
        hasher.update(content)
        progress.advance()
    hasher.update(labels.astype("<i8").tobytes())

    def read(rows: Rows, told: Progress) -> Inputs:
        told.start("decoding images", len(rows))
        first = _decode(paths[rows[0]], layout, transform)
        images = np.empty((len(rows), *first.shape), dtype=np.uint8)
        for place, row in enumerate(rows):
            images[place] = _decode(paths[row], layout, transform)
            told.advance()
        return images

    return Source(labels, class_names, PIXEL_BOUNDS, hasher.hexdigest(), read)


def _decode(path: Path, layout: Layout, transform: Callable[[Image], Image] | None) -> npt.NDArray[np.uint8]:
    """One image, (C, H, W)."""
    with reading(path):
        content = path.read_bytes()
    with _opened(path, content) as image:
        _check_layout(path, image, layout)
        image.load()
        pixels = np.asarray(image if transform is None else transform(image), dtype=np.uint8)
    return pixels[np.newaxis] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


def _check_layout(path: Path, image: Image, layout: Layout) -> None:
    found = Layout(*image.size, image.mode)
    if found != layout:
        raise broken(path, f"has {found}; this set has {layout}", hint="bring all images to one size and one mode")


@contextlib.contextmanager
def _opened(path: Path, content: bytes) -> Iterator[Image]:
    """The image in the bytes of a file; what is wrong with it becomes a `DataError`."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=FORMATS)
        with image:
            if image.width * image.height > MOST_PIXELS:
                raise broken(path, f"claims {image.width} x {image.height} pixels, which is too many")
            if image.mode not in CHANNELS:
                raise broken(path, f"has the mode {image.mode}", hint="save it as 8-bit grey or RGB without alpha")
            yield image
    except UnidentifiedImageError:
        raise broken(path, "is no PNG or JPEG image") from None
    except Image.DecompressionBombError:
        raise broken(path, "claims too many pixels") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise broken(path, f"is truncated or broken: {error}") from None

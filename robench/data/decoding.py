"""One image file, PNG or JPEG: its pixels as 8-bit grey or RGB, exactly as stored, or the reason why not."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from robench.data.files import broken
from robench.data.png import SIGNATURE, read_png

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG")
SUFFIXES = (".png", ".jpg", ".jpeg")
CONVERSIONS = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGB"}
"""By the decoder's mode, the mode that holds the same colours; alpha must be opaque everywhere."""
WITH_ALPHA = ("LA", "RGBA")
NAMES = {"CMYK": "CMYK (inks, not colours)"}
ORIENTATION = 0x0112
UPRIGHT = 1
MOST_PIXELS = 1 << 24
"""An image of more pixels is refused before it is decoded: no classifier here takes it."""
HINT = "put a sound copy in its place, or move it out of the set"
CONVERT_HINT = (
    "put a copy in its place that is saved as 8-bit grey or RGB without alpha, and keep the original elsewhere"
)


class Layout(NamedTuple):
    """What every image of a set must be.

    Fields:
        width, height: pixels.
        mode: `L` (grey) or `RGB`, of the pixels after conversion.
    """

    width: int
    height: int
    mode: str

    def __str__(self) -> str:
        return f"{self.width} x {self.height} pixels, {'grey' if self.mode == 'L' else 'RGB'}"


@contextlib.contextmanager
def opened(path: Path, content: bytes) -> Iterator[Image]:
    """The image in the bytes of a file, not decoded yet.

    Raises:
        DataError: broken, or its pixels are not 8-bit grey or RGB; also for what is wrong when it is decoded inside.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large images, and EXIF that is damaged: no pixel depends on it
            _check_chunks(path, content)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                _check_kind(path, image)
                yield image
    except UnidentifiedImageError:
        raise broken(path, "is empty" if not content else "is no PNG or JPEG image", hint=HINT) from None
    except Image.DecompressionBombError:
        raise broken(path, "claims too many pixels", hint=HINT) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise broken(path, f"is truncated or broken: {error}", hint=HINT) from None


def layout(image: Image) -> Layout:
    """Size and mode of an opened image, as `plain` gives it."""
    return Layout(*image.size, CONVERSIONS[image.mode])


def plain(path: Path, image: Image) -> Image:
    """The decoded image, grey or RGB.

    Raises:
        DataError: a pixel is transparent, so its colour is not known.
    """
    image.load()
    if image.mode in WITH_ALPHA and image.getchannel("A").getextrema() != (255, 255):
        raise broken(path, f"has transparent pixels (mode {image.mode})", hint=CONVERT_HINT)
    return image if image.mode == CONVERSIONS[image.mode] else image.convert(CONVERSIONS[image.mode])


def turned(image: Image) -> bool:
    """Whether EXIF says that the stored pixels are to be turned or mirrored for display."""
    try:
        return bool(image.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT)
    except Exception:  # damaged EXIF breaks the library in many ways, and says nothing
        return False


def _check_chunks(path: Path, content: bytes) -> None:
    """Refuse what the decoder would cut to 8 bits, or take one of several pictures of."""
    if not content.startswith(SIGNATURE):
        return
    facts = read_png(content)
    if facts.depth > 8:
        raise broken(path, f"has {facts.depth} bits a channel, and images are read with 8", hint=CONVERT_HINT)
    if b"tRNS" in facts.kinds:
        raise broken(path, "names transparent colours, so its pixels have no colour of their own", hint=CONVERT_HINT)
    if b"acTL" in facts.kinds:
        raise broken(path, "is animated: it holds several pictures", hint="save only the picture that you mean")


def _check_kind(path: Path, image: Image) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise broken(path, f"claims {image.width} x {image.height} pixels, which is too many", hint=HINT)
    if image.mode not in CONVERSIONS:
        raise broken(path, f"has the mode {NAMES.get(image.mode, image.mode)}", hint=CONVERT_HINT)
    if getattr(image, "n_frames", 1) > 1:
        raise broken(path, "holds several pictures", hint="save only the picture that you mean")

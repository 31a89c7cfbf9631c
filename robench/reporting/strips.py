"""The images of a gallery as one picture: a row a kind, a column an image; the page shows its parts.

Below the images stands what the nearest attack added, signed: red where it is brighter, blue where it is darker, each
scaled to its own largest change.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

LOSSLESS = 24_000
"""Bytes above which the picture is stored with loss."""
SHOWN = 64
"""Pixels that an image is about as wide on the page."""
RED, BLUE = np.array([166, 60, 0]), np.array([0, 99, 160])

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Strip:
    """A picture of equal cells.

    Fields:
        rows: what each row is.
        captions: a text under each cell, a list a row; None where there is no image.
        index: positions of the images in their split, a column each.
        facts: what is known of each image, in a sentence.
        source: the picture, as an address that holds it.
        height, width: of a cell in pixels of the picture.
    """

    rows: tuple[str, ...]
    captions: tuple[tuple[str | None, ...], ...]
    index: tuple[int, ...]
    facts: tuple[str, ...]
    source: str
    height: int
    width: int

    @property
    def scale(self) -> int:
        """How many pixels of the page a pixel of the picture is wide."""
        return max(1, round(SHOWN / self.width))


def picture(rows: Sequence[npt.NDArray[np.uint8]]) -> str:
    """Rows of images as an address that holds them.

    Args:
        rows: (K, H, W, 3) each.
    """
    whole = np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)
    buffer = io.BytesIO()
    Image.fromarray(whole).save(buffer, "webp", lossless=True, quality=60, method=4)
    if buffer.tell() > LOSSLESS:
        buffer = io.BytesIO()
        Image.fromarray(whole).save(buffer, "webp", quality=75, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def shown(images: Floats, bounds: Sequence[float]) -> npt.NDArray[np.uint8]:
    """Images as colours; grey where there is none.

    Args:
        images: (K, C, H, W), NaN where there is none.
        bounds: of valid inputs.
    """
    low, high = bounds
    values = np.clip((np.moveaxis(images, 1, -1) - low) / (high - low), 0.0, 1.0)
    values = np.broadcast_to(values, (*values.shape[:-1], 3)) if values.shape[-1] == 1 else values
    return np.where(np.isfinite(values), np.round(255.0 * np.nan_to_num(values)), 235.0).astype(np.uint8)


def noise(images: Floats, clean: Floats) -> npt.NDArray[np.uint8]:
    """The signed change of each image, mean of its channels, from blue over white to red.

    Args:
        images: (K, C, H, W), NaN where there is none.
        clean: (K, C, H, W).
    """
    change = np.nan_to_num(images - clean).mean(axis=1)
    largest = np.abs(change).max(axis=(1, 2), keepdims=True)
    share = np.divide(change, largest, out=np.zeros_like(change), where=largest > 0)[..., None]
    colour = np.where(share > 0, RED, BLUE)
    mixed = 255.0 + np.abs(share) * (colour - 255.0)
    known = np.asarray(np.isfinite(images).all(axis=1))[..., None]
    return np.where(known, mixed, 235.0).round().astype(np.uint8)

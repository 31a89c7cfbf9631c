"""Arrays of inputs as users store them: which axis is the colours, and what value is white."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robench.data.dataset import Inputs
from robench.data.files import broken

COLOURS = (1, 3)
SCALES = "store uint8 pixels 0 to 255, or floats from 0 to 1"


def pixels(array: npt.NDArray[Any], key: str, path: Path) -> Inputs:
    """(N, C, H, W) or (N, d), uint8 or float32 in [0, 1].

    Args:
        array: as read.
        key: its name in the file.
        path: of the file.

    Raises:
        DataError: another shape or type, values out of range, or uint8 whose white is 1.
    """
    array = _with_channels(array, key, path)
    if array.dtype == np.uint8:
        if array.max() <= 1:
            text = f"holds nothing but 0 and 1 in `{key}` of type uint8, where 255 is white"
            raise broken(path, text, hint=f"store `{key} * 255` or `{key}.astype('float32')`")
        return np.ascontiguousarray(array)
    if array.dtype.kind != "f":
        raise broken(path, f"holds `{key}` of type {array.dtype}", hint=SCALES)
    if not np.isfinite(array).all():
        raise broken(path, f"holds values in `{key}` that are not finite", hint="replace NaN and infinity")
    least, most = float(array.min()), float(array.max())
    if least < 0 or most > 1:
        raise broken(path, f"holds values from {least!r} to {most!r} in `{key}`", hint=_scale_hint(key, least, most))
    return array.astype(np.float32)


def input_shape(shape: tuple[int, ...], key: str, path: Path) -> tuple[int, ...]:
    """Shape of one input of an array of this shape, as `pixels` gives it.

    Args:
        shape: of the whole array.
        key: its name in the file.
        path: of the file.

    Raises:
        DataError: no images or points have such a shape.
    """
    return _with_channels(np.broadcast_to(np.uint8(0), shape), key, path).shape[1:]


def _scale_hint(key: str, least: float, most: float) -> str:
    """What to store instead, where the range tells how the pixels were scaled."""
    if least > -1e-3 and most < 1.001:
        return f"store `{key}.clip(0, 1)`; {SCALES}"
    if -1 <= least < 0 and most <= 1:
        return f"store `({key} + 1) / 2` if -1 is black; {SCALES}"
    if least >= 0 and 127 < most <= 255:
        return f"store `{key} / 255` if 255 is white; {SCALES}"
    if least >= 0:
        return f"divide `{key}` by the value that is white, the same for all images; {SCALES}"
    return f"{SCALES}; pixels that were standardised are `{key} * std + mean`, and the model then has to standardise"


def _with_channels(array: npt.NDArray[Any], key: str, path: Path) -> npt.NDArray[Any]:
    """Images as (N, C, H, W); (N, d) stays."""
    shape = array.shape
    if min(shape, default=0) > 0:
        if len(shape) == 2:
            return array
        if len(shape) == 3:
            return array[:, np.newaxis]
        first, last = len(shape) == 4 and shape[1] in COLOURS, len(shape) == 4 and shape[3] in COLOURS
        if first != last:
            return array if first else np.moveaxis(array, -1, 1)
        if first:
            hint = "either axis could be the colours; make the other one larger, or store (N, H, W) for grey"
            raise broken(path, f"holds `{key}` of shape {shape}, which is ambiguous", hint=hint)
    hint = "store (N, H, W), (N, H, W, C), (N, C, H, W) with 1 or 3 colours, or (N, d)"
    raise broken(path, f"holds `{key}` of shape {shape}", hint=hint)

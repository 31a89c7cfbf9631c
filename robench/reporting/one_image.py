"""One image and what becomes of it, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from robench.numerics import distance_upper, upper
from robench.reporting import figures, strips

Point = npt.NDArray[np.float64]


def one_image(clean: Point, points: Mapping[str, Point], bounds: Sequence[float], label: str) -> dict[str, bytes]:
    """PNG and SVG of an image, of points near it, and of what each of them added; nothing where neither can be drawn.

    Args:
        clean: (C, H, W), or (2,) for a point of the plane.
        points: of the same shape, by what they are.
        bounds: of valid inputs.
        label: name of the true class.
    """
    if clean.ndim == 3 and clean.shape[0] in (1, 3):
        figure = _grid(clean, points, bounds, label)
    elif clean.shape == (2,):
        moved = [(name, point[None]) for name, point in points.items()]
        figure = figures.plane_gallery(clean[None], np.zeros(1, dtype=np.int64), moved)
    else:
        return {}
    return {"png": figures.image_bytes(figure, "png"), "svg": figures.image_bytes(figure, "svg")}


def _grid(clean: Point, points: Mapping[str, Point], bounds: Sequence[float], label: str) -> Any:
    low, high = bounds
    stack = np.stack([clean, *points.values()])
    added = np.moveaxis(strips.noise(stack, np.broadcast_to(clean, stack.shape)) / 255.0, -1, 1)
    added[0] = 1.0  # nothing was added to the image itself
    shown = (stack - low) / (high - low)
    shown = np.repeat(shown, 3, axis=1) if shown.shape[1] == 1 else shown
    away = [f"L2 {upper(distance_upper(clean, point), 3)}" for point in points.values()]
    return figures.image_grid([("image", shown), ("added", added)], [[label, *points], ["", *away]])

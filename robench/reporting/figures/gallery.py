"""Inputs and what attacks made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robench.reporting.figures.look import COLOURS, GREY, MARKERS, panel, style

CELL = (1.0, 1.12)
"""Width and height in inches of an image of a grid with its caption."""


@style()
def image_grid(rows: Sequence[tuple[str, npt.NDArray[Any]]], captions: Sequence[Sequence[str]]) -> Figure:
    """Images side by side, one row a kind (Fig. 5 of the paper); the rows' names stand on the left.

    Args:
        rows: name and images (K, C, H, W) in [0, 1]; an image of NaN is left blank.
        captions: a short text under each image, one list a row.
    """
    columns = len(rows[0][1])
    margin = 0.3 + 0.075 * max(len(name) for name, _ in rows)
    width, height = margin + CELL[0] * columns, CELL[1] * len(rows)
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((margin / width, 0.0, 1.0 - margin / width, 1.0))
    for line, (name, images) in enumerate(rows):
        axes.text(-0.1 / CELL[0], line + 0.45, name, ha="right", va="center", fontsize=9.5)
        _row(axes, images, line)
        for column in range(columns):
            axes.text(column + 0.5, line + 0.9, captions[line][column], ha="center", va="center", fontsize=7.5)
    axes.set(xlim=(0, columns), ylim=(len(rows), 0), aspect="auto")
    axes.set_axis_off()
    return figure


@style()
def plane_gallery(
    clean: npt.NDArray[Any], labels: npt.NDArray[Any], moved: Sequence[tuple[str, npt.NDArray[Any]]]
) -> Figure:
    """Points of the plane with arrows to where an attack, or the gradient step, takes them.

    Args:
        clean: (K, 2) points.
        labels: (K,) classes.
        moved: name and (K, 2) points, NaN where there is none.
    """
    figure, axes = panel()
    for place, (name, points) in enumerate(moved):
        colour = COLOURS[(place + 2) % len(COLOURS)]
        steps = points - clean
        axes.quiver(*clean.T, *steps.T, angles="xy", scale_units="xy", scale=1, color=colour, width=0.004, label=name)
        axes.plot(*points.T, ",", color=colour)
    for label in np.unique(labels):
        chosen = clean[labels == label]
        axes.plot(
            *chosen.T, MARKERS[label % len(MARKERS)], color=COLOURS[label % 2], markeredgecolor="white",
            label=f"class {label}",
        )  # fmt: skip
    axes.set(aspect="equal", xlabel="x₁ (input units)", ylabel="x₂ (input units)")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _row(axes: Axes, images: npt.NDArray[Any], line: int) -> None:
    """Images in their cells as one picture, with their proportions, above the places of their captions."""
    known = np.isfinite(images).reshape(len(images), -1).all(axis=1)
    for column in np.flatnonzero(~known).tolist():
        axes.text(column + 0.5, line + 0.43, "none\nfound", ha="center", va="center", fontsize=8, color=GREY)
    pixels = np.moveaxis(np.clip(np.where(np.isfinite(images), images, 1.0), 0.0, 1.0), 1, -1)
    pixels = np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels
    side = 0.8 * CELL[1] / max(pixels.shape[1:3])  # inches of a pixel
    width, gap = pixels.shape[2], round(CELL[0] / side) - pixels.shape[2]
    margin = ((0, 0), (0, 0), (gap // 2, gap - gap // 2), (0, 0))
    row = np.concatenate(list(np.pad(pixels, margin, constant_values=1.0)), axis=1)
    half = pixels.shape[1] * side / CELL[1] / 2
    shift = (gap / 2 - gap // 2) / (width + gap)  # of an odd gap, so that images stay above their captions
    extent = (shift, len(images) + shift, line + 0.43 + half, line + 0.43 - half)
    axes.imshow(row, extent=extent, interpolation="nearest")

"""A two-class model as a transport potential (paper, Fig. 1 and 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from robench.reporting.figures.look import BLACK, BLUE, GREEN, GREY, ORANGE, in_percent, panel, style

LEVELS = (-1.0, -0.75, -0.5, -0.25, 0.25, 0.5, 0.75, 1.0)


@style()
def output_distributions(values: npt.NDArray[Any], labels: npt.NDArray[Any], names: Sequence[str]) -> Figure:
    """How the values of f are distributed in each of two classes (paper, Fig. 1a and 2a).

    Args:
        values: (n,) f.
        labels: (n,) 0 or 1.
        names: of the two classes.
    """
    figure, axes = panel(5.6, 4.0)
    bins = np.linspace(values.min(), values.max(), 61).tolist()
    for label, (colour, hatch, sign) in enumerate(((BLUE, "////", "−1"), (ORANGE, "....", "+1"))):
        chosen = values[labels == label]
        axes.hist(
            chosen, bins, weights=np.full(len(chosen), 1 / len(chosen)), color=(colour, 0.45), edgecolor=colour,
            hatch=hatch, histtype="stepfilled", label=f"class {sign}: {names[label]}",
        )  # fmt: skip
    axes.axvline(0, color=BLACK, linewidth=1.2)
    axes.set(xlabel="f(x) (input units)", ylabel="share of the class")
    in_percent(axes)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@style()
def level_map(
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    values: npt.NDArray[Any],
    points: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    names: Sequence[str],
) -> Figure:
    """Levels of f on a part of the plane, its zero level in bold, and the examples (paper, Fig. 1b and 2b).

    Args:
        x: (a,) coordinates.
        y: (b,) coordinates.
        values: (b, a) f.
        points: (n, 2) examples.
        labels: (n,) 0 or 1.
        names: of the two classes.
    """
    figure, axes = panel(6.6, 4.2)
    top = float(np.abs(values).max()) or 1.0
    filled = axes.contourf(x, y, values, levels=np.linspace(-top, top, 25), cmap="PuOr_r", alpha=0.75)
    lines = axes.contour(x, y, values, levels=LEVELS, colors=GREY, linewidths=0.7)
    axes.clabel(lines, fontsize=7.5)
    axes.contour(x, y, values, levels=[0.0], colors=BLACK, linewidths=2.2)
    for label, (colour, marker, sign) in enumerate(((BLUE, "o", "−1"), (ORANGE, "^", "+1"))):
        axes.plot(
            *points[labels == label].T, marker, color=colour, markersize=3.6, markeredgecolor="white",
            markeredgewidth=0.4, label=f"class {sign}: {names[label]}", rasterized=True,
        )  # fmt: skip
    axes.grid(False)
    axes.set(aspect="equal", xlabel="x₁ (input units)", ylabel="x₂ (input units)")
    figure.colorbar(filled, ax=axes, label="f(x) (input units)", ticks=MultipleLocator(0.5))
    figure.legend(loc="outside lower center", ncols=2, markerscale=1.8)
    return figure


@style()
def gradient_norms(norms: npt.NDArray[Any]) -> Figure:
    """Share of examples whose gradient norm is at most a value; Proposition 1 of the paper wants a step at 1."""
    figure, axes = panel(5.6, 3.6)
    axes.axvspan(0.95, 1.05, color=GREEN, alpha=0.14, linewidth=0, label="1 ± 0.05")
    axes.ecdf(norms, color=BLUE, label="examples")
    axes.set(xlim=(0, 1.1), ylim=(0, 1.005), xlabel="‖∇f(x)‖₂", ylabel="share of examples at or below")
    in_percent(axes)
    figure.legend(loc="outside lower center", ncols=2)
    return figure

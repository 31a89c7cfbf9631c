"""One curve of accuracy against ε."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from robench.reporting.figures.look import in_percent
from robench.specs.epsilon import epsilon_value
from robench.statistics.curves import Curve

GRID_POINTS = 241


def line(axes: Axes, curve: Curve, limit: float, **look: Any) -> None:
    """A curve up to a limit.

    Args:
        axes: to draw on.
        curve: the rate.
        limit: largest ε.
        **look: how matplotlib draws it.
    """
    eps = np.linspace(0.0, limit, GRID_POINTS)
    axes.plot(eps, curve.rates(eps), **look)


def marked_line(axes: Axes, curve: Curve, marked: Sequence[str], limit: float, **look: Any) -> None:
    """A curve with a marker at some radii; the legend shows both.

    Args:
        axes: to draw on.
        curve: the rate.
        marked: radii as written.
        limit: largest ε.
        **look: how matplotlib draws it.
    """
    eps = np.union1d(np.linspace(0.0, limit, GRID_POINTS), [epsilon_value(text) for text in marked])
    places = np.searchsorted(eps, [epsilon_value(text) for text in marked])
    axes.plot(eps, curve.rates(eps), markevery=places.tolist(), **look)


def band(axes: Axes, curve: Curve, limit: float, colour: str) -> None:
    """The 95 % Clopper-Pearson intervals of a curve.

    Args:
        axes: to draw on.
        curve: the rate.
        limit: largest ε.
        colour: of the band.
    """
    eps = np.linspace(0.0, limit, GRID_POINTS)
    low, high = curve.interval(eps)
    axes.fill_between(eps, low, high, color=colour, alpha=0.14, linewidth=0)


def attacked_line(axes: Axes, curve: Curve, asked: Sequence[str], **look: Any) -> None:
    """A curve under attack with its band, up to the largest radius asked, and a marker at each of them.

    Args:
        axes: where.
        curve: the accuracy.
        asked: the radii, as written, ascending.
        look: of the line, with its `color`.
    """
    limit = epsilon_value(asked[-1])
    band(axes, curve, limit, look["color"])
    marked_line(axes, curve, asked, limit, **look)


def scale_accuracy(axes: Axes, limit: float) -> None:
    """ε from 0 to a limit, accuracy from 0 to 100 %."""
    axes.set(xlim=(0, limit), ylim=(0, 1.005))
    in_percent(axes)

"""Single attacks: what each reaches, what it costs, and how far from the certificates it ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from robench.records.record import COMBINED
from robench.reporting.evaluation import Evaluation
from robench.reporting.figures.curves import attacked_line, scale_accuracy
from robench.reporting.figures.look import (
    COLOURS,
    GREY,
    MARKERS,
    THIN_LINES,
    VERMILION,
    in_percent,
    legend_of_names,
    look_of,
    panel,
    style,
    unit,
)
from robench.specs.epsilon import epsilon_value
from robench.statistics.budget import DIRECTIONS, passes_of

FEW_EPS = 5
"""Radii that can be told apart in one panel, a line each."""
DISTINCT: dict[str, Any] = {
    "markersize": 7.5, "markeredgecolor": "white", "markeredgewidth": 0.5, "clip_on": False, "zorder": 3,
}  # fmt: skip
"""Markers that may lie on each other."""


@style()
def single_attacks(evaluations: Sequence[Evaluation]) -> Figure:
    """Accuracy against ε of models under each attack by itself, one panel an attack (Fig. 3 of the paper).

    Models whose attacks did not each see every image have no such curve; the others look as in `comparison`.
    """
    drawn = [(place, item) for place, item in enumerate(evaluations) if item.full and item.robust() is not None]
    names = list(dict.fromkeys(name for _, item in drawn for name in item.attacks))
    columns = min(2, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(0.6 + 3.4 * columns, 0.8 + 2.6 * lines), layout=ConstrainedLayoutEngine(wspace=0.06))
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    limit = 1.04 * max(epsilon_value(item.attacked_eps[-1]) for _, item in drawn)
    handles: dict[str, Any] = {}
    for number, axes in enumerate(panels.flatten()[: len(names)]):
        axes.set_title(names[number])
        for place, item in drawn:
            if (curve := item.robust(names[number])) is not None:
                attacked_line(axes, curve, item.attacked_eps, **look_of(place))
                handles[item.name] = axes.lines[-1]
        scale_accuracy(axes, limit)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.tick_params(labelbottom=number + columns >= len(names))
        if number + columns >= len(names):
            axes.set_xlabel(f"ε ({unit(evaluations)})")
        if number % columns == 0:
            axes.set_ylabel("accuracy")
    for axes in panels.flatten()[len(names) :]:
        axes.set_axis_off()
    legend_of_names(figure, list(handles.values()), list(handles))
    return figure


@style()
def accuracy_by_passes(evaluation: Evaluation) -> Figure:
    """Combined accuracy at a few ε against passes, cumulated from attack to attack; first the clean prediction.

    The passes of each attack must have been noted.
    """
    assert evaluation.attack is not None
    run, eps = evaluation.attack, evaluation.attacked_eps
    steps = [(budget.forward or 0) + (budget.backward or 0) for budget in evaluation.budgets.values()]
    whole = sum(passes_of(run.spent, COMBINED, way) or 0 for way in DIRECTIONS)
    spent = np.cumsum([max(0, whole - sum(steps)), *steps]) / run.n
    stages = evaluation.course
    few = [eps[place] for place in np.unique(np.linspace(0, len(eps) - 1, FEW_EPS).round().astype(int))]
    figure, axes = panel(7.2, 4.6)
    lines = []
    for place, text in enumerate(few):
        rates = [float(curve.rate(epsilon_value(text))) for curve in stages]
        line = ("-", *THIN_LINES)[place % (1 + len(THIN_LINES))]
        lines += axes.plot(spent, rates, color=COLOURS[place], linestyle=line, label=f"ε = {text}")
        for stage, (passes, rate) in enumerate(zip(spent, rates, strict=True)):
            marker = MARKERS[stage % len(MARKERS)]
            axes.plot(passes, rate, marker, color=COLOURS[place], **DISTINCT)
    markers = [
        axes.plot([], [], MARKERS[stage % len(MARKERS)], color=GREY, label=name)[0]
        for stage, name in enumerate(("clean", *(f"after {name}" for name in evaluation.budgets)))
    ]
    axes.set(xlim=(0, 1.04 * max(1.0, float(spent[-1]))), ylim=(0, 1.005))
    axes.set(xlabel="forward and backward passes, mean of an image", ylabel="accuracy, all attacks so far")
    in_percent(axes)
    figure.legend(handles=lines, loc="outside lower center", ncols=3)
    figure.legend(handles=markers, loc="outside right upper")
    return figure


@style()
def radius_distance(evaluation: Evaluation) -> Figure:
    """Attack distance against certified radius, one point an image; below the diagonal lie contradictions."""
    figure, axes = panel(5.2, 5.6)
    records = [record for record in (evaluation.attack.records if evaluation.attack else ()) if record.correct]
    found = [(r.certified_radius, r.distance, r.attack) for r in records if r.distance is not None]
    open_radii = [record.certified_radius for record in records if record.distance is None]
    top = 1.05 * max([0.1, *open_radii, *(max(radius, distance) for radius, distance, _ in found)])
    axes.fill_between([0, top], [0, top], 0, color="#F6E3DA", linewidth=0)
    axes.plot([0, top], [0, top], color=VERMILION, linewidth=1.2)
    axes.annotate(
        "below: contradictions", (0.97, 0.04), xycoords="axes fraction", ha="right", color="#8A3B00", fontsize=9.5
    )
    for place, name in enumerate(evaluation.attacks):
        points = np.array([(radius, distance) for radius, distance, by in found if by == name]).reshape(-1, 2)
        if len(points):
            _points(axes, points[:, 0], points[:, 1], place, f"nearest by {name} ({len(points)})")
    if open_radii:
        label = f"none found or not asked ({len(open_radii)})"
        axes.plot(
            open_radii, np.full(len(open_radii), top), "|", color=GREY, markersize=9, clip_on=False, label=label,
            rasterized=True,
        )  # fmt: skip
    axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
    of = unit([evaluation])
    axes.set(xlabel=f"certified L2 radius ({of})", ylabel=f"nearest adversarial, L2 distance ({of})")
    if records:
        figure.legend(loc="outside lower center", ncols=2, markerscale=1.5)
    else:
        axes.annotate("no image is classified correctly", (0.5, 0.5), xycoords="axes fraction", ha="center")
    return figure


def _points(axes: Axes, x: npt.NDArray[Any], y: npt.NDArray[Any], place: int, label: str) -> None:
    colour = COLOURS[place % len(COLOURS)]
    size = 5.0 if x.size <= 200 else max(2.5, 5.0 * math.sqrt(200 / x.size))
    axes.plot(
        x, y, MARKERS[place % len(MARKERS)], color=colour, alpha=0.7, markersize=size, markeredgewidth=0, label=label,
        rasterized=True,
    )  # fmt: skip

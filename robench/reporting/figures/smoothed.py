"""Certified accuracy of smoothed classifiers, in a figure of their own."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from robench.reporting.figures.curves import band, marked_line, scale_accuracy
from robench.reporting.figures.look import legend_of_names, look_of, panel, style
from robench.reporting.tables.smoothed import SmoothedRun, asked, sampling
from robench.specs.epsilon import epsilon_value
from robench.statistics import curves


@style()
def smoothed(runs: Sequence[SmoothedRun]) -> Figure:
    """Certified accuracy against ε of each run that has images, dotted."""
    figure, axes = panel()
    limit = 1.04 * max(epsilon_value(text) for run in runs for text in asked(run))
    for place, run in enumerate(runs):
        curve, look = curves.smoothed(run.records), look_of(place)
        band(axes, curve, limit, look["color"])
        marked_line(
            axes, curve, asked(run), limit, **look, markerfacecolor="white", linestyle=(0, (1, 1.2)), label=_label(run)
        )
    scale_accuracy(axes, limit)
    axes.set(xlabel="L2 perturbation ε (pixel units)", ylabel="certified accuracy")
    legend_of_names(figure, *axes.get_legend_handles_labels())
    return figure


def _label(run: SmoothedRun) -> str:
    noise = sampling(run)
    return f"smoothed, σ = {noise.sigma:g}, probability {1 - noise.alpha:g} per image: {run.model_name} ({run.name})"

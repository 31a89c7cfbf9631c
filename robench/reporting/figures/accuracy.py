"""Accuracy against ε: of models, and of one model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robench.reporting.evaluation import Evaluation
from robench.reporting.figures.curves import band, line, marked_line, scale_accuracy
from robench.reporting.figures.look import (
    BLACK,
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    MARKERS,
    ORANGE,
    PURPLE,
    SKY,
    THIN_LINES,
    VERMILION,
    legend_of_names,
    panel,
    style,
    unit,
)
from robench.specs.epsilon import epsilon_value


@style()
def comparison(evaluations: Sequence[Evaluation]) -> Figure:
    """Accuracy against ε of all models: combined attacks solid, certified dashed (Fig. 3 and 4 of the paper)."""
    figure, axes = panel()
    limit = max(_eps_limit(item) for item in evaluations)
    looks = [(COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]) for place in range(len(evaluations))]
    for item, (colour, marker) in zip(evaluations, looks, strict=True):
        curve = item.robust()
        if curve is not None:
            asked = item.attacked_eps
            band(axes, curve, epsilon_value(asked[-1]), colour)
            marked_line(
                axes,
                curve,
                asked,
                epsilon_value(asked[-1]),
                color=colour,
                marker=marker,
                label=f"attacked: {item.name}",
            )
    for item, (colour, marker) in zip(evaluations, looks, strict=True):
        curve = item.certified_on_attacked("pairwise")
        if curve is not None:
            if item.robust() is None:
                band(axes, curve, limit, colour)
            marked_line(
                axes,
                curve,
                item.eps,
                limit,
                color=colour,
                marker=marker,
                markerfacecolor="white",
                linestyle=(0, (4, 2)),
                label=f"certified: {item.name}",
            )
    _finish(figure, axes, limit, evaluations)
    return figure


@style()
def accuracy(evaluation: Evaluation) -> Figure:
    """Accuracy against ε of one model: certified below, each attack above, the combined rule between."""
    figure, axes = panel()
    limit = _eps_limit(evaluation)
    combined = evaluation.robust()
    pairwise, paper = evaluation.certified_on_attacked("pairwise"), evaluation.certified_on_attacked("paper")
    if combined is not None:
        _attack_lines(axes, evaluation)
    if pairwise is not None:
        band(axes, pairwise, limit, GREEN)
        line(axes, pairwise, limit, color=GREEN, linestyle=(0, (4, 2)), label="certified (pairwise)")
    if paper is not None:
        line(axes, paper, limit, color=BLACK, linestyle=(0, (1, 1.2)), linewidth=1.4, label="certified (paper)")
    _finish(figure, axes, limit, [evaluation])
    return figure


def _attack_lines(axes: Axes, evaluation: Evaluation) -> None:
    """The combined rule, and each attack where each saw every image; in an ensemble a single attack has no curve."""
    asked = [epsilon_value(text) for text in evaluation.attacked_eps]
    for place, name in enumerate(evaluation.attacks if evaluation.full else ()):
        curve = evaluation.robust(name)
        assert curve is not None
        colour = (VERMILION, ORANGE, PURPLE, SKY, GREY)[place % 5]
        line = THIN_LINES[(place + place // 5) % len(THIN_LINES)]
        marker = MARKERS[(place + 1) % len(MARKERS)]
        marked_line(
            axes, curve, evaluation.attacked_eps, asked[-1], marker=marker, color=colour, linestyle=line, linewidth=1.3,
            markersize=5, markerfacecolor="white", label=name,
        )  # fmt: skip
    combined = evaluation.robust()
    assert combined is not None
    band(axes, combined, asked[-1], BLUE)
    marked_line(
        axes,
        combined,
        evaluation.attacked_eps,
        asked[-1],
        color=BLUE,
        marker="o",
        linewidth=2.2,
        label="combined attacks",
    )


def _finish(figure: Figure, axes: Axes, limit: float, evaluations: Sequence[Evaluation]) -> None:
    scale_accuracy(axes, limit)
    axes.set(xlabel=f"L2 perturbation ε ({unit(evaluations)})", ylabel="accuracy")
    legend_of_names(figure, *axes.get_legend_handles_labels())


def _eps_limit(evaluation: Evaluation) -> float:
    """How far the ε axis goes: past the largest radius asked, or to where nothing is certified any more."""
    asked = 1.04 * max(epsilon_value(text) for text in evaluation.eps)
    curve = evaluation.certified("pairwise")
    if evaluation.attack is not None or curve is None:
        return asked
    return max(asked, min(1.05 * float(np.quantile(curve.thresholds, 0.99)), 3 * asked))

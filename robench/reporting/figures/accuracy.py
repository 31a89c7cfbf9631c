"""Accuracy against ε: of models, and of one model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robench.records.record import Rule
from robench.reporting.evaluation import Evaluation
from robench.reporting.figures.curves import attacked_line, band, line, marked_line, scale_accuracy
from robench.reporting.figures.look import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    MARKERS,
    ORANGE,
    PURPLE,
    SKY,
    THIN_LINES,
    VERMILION,
    legend_of_names,
    look_of,
    panel,
    style,
    unit,
)
from robench.specs.epsilon import epsilon_value

RULE_LINES: dict[Rule, dict[str, Any]] = {
    "local": {"color": GREEN, "linestyle": "solid"},
    "scaled": {"color": GREEN, "linestyle": (0, (6, 1.5, 1, 1.5))},
    "pairwise": {"color": GREEN, "linestyle": (0, (4, 2))},
    "paper": {"color": BLACK, "linestyle": (0, (1, 1.2)), "linewidth": 1.4},
}


@style()
def comparison(evaluations: Sequence[Evaluation]) -> Figure:
    """Accuracy against ε of all models: combined attacks solid, certified dashed (Fig. 3 and 4 of the paper)."""
    figure, axes = panel()
    limit = max(_eps_limit(item) for item in evaluations)
    for place, item in enumerate(evaluations):
        if (robust := item.robust()) is not None:
            attacked_line(axes, robust, item.attacked_eps, **look_of(place), label=f"attacked: {item.name}")
    for place, item in enumerate(evaluations):
        if (certified := item.certified_on_attacked()) is not None:
            look = {"markerfacecolor": "white", "linestyle": (0, (4, 2)), "label": f"certified: {item.name}"}
            if item.robust() is None:
                band(axes, certified, limit, look_of(place)["color"])
            marked_line(axes, certified, item.eps, limit, **look_of(place), **look)
    _finish(figure, axes, limit, evaluations)
    return figure


@style()
def accuracy(evaluation: Evaluation) -> Figure:
    """Accuracy against ε of one model: certified below, each attack above, the combined rule between."""
    figure, axes = panel()
    limit = _eps_limit(evaluation)
    combined = evaluation.robust()
    tightest = evaluation.certified_on_attacked()
    if combined is not None:
        _attack_lines(axes, evaluation)
    if tightest is not None:
        band(axes, tightest, limit, GREEN)
    for rule in evaluation.rules[::-1]:
        curve = evaluation.certified_on_attacked(rule)
        assert curve is not None
        line(axes, curve, limit, **RULE_LINES[rule], label=f"certified ({rule})")
    _finish(figure, axes, limit, [evaluation])
    return figure


def _attack_lines(axes: Axes, evaluation: Evaluation) -> None:
    """The combined rule, and each attack where each saw every image; in an ensemble a single attack has no curve."""
    asked = evaluation.attacked_eps
    for place, name in enumerate(evaluation.attacks if evaluation.full else ()):
        curve = evaluation.robust(name)
        assert curve is not None
        colour = (VERMILION, ORANGE, PURPLE, SKY, GREY)[place % 5]
        dashes = THIN_LINES[(place + place // 5) % len(THIN_LINES)]
        marker = MARKERS[(place + 1) % len(MARKERS)]
        marked_line(
            axes, curve, asked, epsilon_value(asked[-1]), marker=marker, color=colour, linestyle=dashes, linewidth=1.3,
            markersize=5, markerfacecolor="white", label=name,
        )  # fmt: skip
    combined = evaluation.robust()
    assert combined is not None
    look = {"color": BLUE, "marker": "o", "linewidth": 2.2, "label": "combined attacks"}
    attacked_line(axes, combined, asked, **look)


def _finish(figure: Figure, axes: Axes, limit: float, evaluations: Sequence[Evaluation]) -> None:
    scale_accuracy(axes, limit)
    axes.set(xlabel=f"L2 perturbation ε ({unit(evaluations)})", ylabel="accuracy")
    legend_of_names(figure, *axes.get_legend_handles_labels())


def _eps_limit(evaluation: Evaluation) -> float:
    """How far the ε axis goes: past the largest radius asked, or to where nothing is certified any more."""
    asked = 1.04 * max(epsilon_value(text) for text in evaluation.eps)
    curve = evaluation.certified()
    if evaluation.attack is not None or curve is None:
        return asked
    return max(asked, min(1.05 * float(np.quantile(curve.thresholds, 0.99)), 3 * asked))

"""The figures of a report, each a matplotlib `Figure` made without pyplot: same records, same bytes.

Colours are those of Okabe and Ito (Color Universal Design, 2008), and no curve is told from another by colour alone.
"""

from __future__ import annotations

import contextlib
import io
import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, MultipleLocator, PercentFormatter

from robench.records.record import COMBINED
from robench.reporting.evaluations import Evaluation
from robench.specs.epsilon import epsilon_value
from robench.statistics.budget import DIRECTIONS, course, passes_of
from robench.statistics.curves import Curve

BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, BLACK = (
    "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#000000",
)  # fmt: skip
GREY = "#5B6470"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK, GREY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
THIN_LINES = ((0, (1, 1)), (0, (4, 1.5, 1, 1.5)), (0, (6, 2)), (0, (2, 2)), (0, (5, 1, 1, 1, 1, 1)))
GRID_POINTS = 241
FEW_EPS = 5
"""Radii that can be told apart in one panel, a line each."""
LEVELS = (-1.0, -0.75, -0.5, -0.25, 0.25, 0.5, 0.75, 1.0)
DISTINCT: dict[str, Any] = {
    "markersize": 7.5, "markeredgecolor": "white", "markeredgewidth": 0.5, "clip_on": False, "zorder": 3,
}  # fmt: skip
"""Markers that may lie on each other."""
LEGEND_WIDTH, LEGEND_ROWS, ROW_HEIGHT = 68, 4, 0.21
"""Letters of a name that fit below a panel; rows of a legend that it has room for; inches that each more takes."""
CELL = (1.0, 1.12)
"""Width and height in inches of an image of a grid with its caption."""

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "grid.color": "#E4E8EC",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "#1B1F24",
    "ytick.labelcolor": "#1B1F24",
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "savefig.facecolor": "white",
    "savefig.dpi": 160,
    "text.parse_math": False,
    "svg.hashsalt": "robench",
    "svg.fonttype": "path",
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The look of all figures, whatever the user's own matplotlib settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def image_bytes(figure: Figure, kind: Literal["png", "svg"]) -> bytes:
    """The figure as a file without dates or versions in it."""
    metadata = {"Date": None, "Creator": "robench"} if kind == "svg" else {"Software": "robench"}
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def comparison(evaluations: Sequence[Evaluation]) -> Figure:
    """Accuracy against ε of all models: combined attacks solid, certified dashed (Fig. 3 and 4 of the paper)."""
    with style():
        figure, axes = _panel()
        limit = max(_eps_limit(item) for item in evaluations)
        looks = [(COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]) for place in range(len(evaluations))]
        for item, (colour, marker) in zip(evaluations, looks, strict=True):
            curve = item.robust()
            if curve is not None:
                asked = item.attacked_eps
                _band(axes, curve, epsilon_value(asked[-1]), colour)
                _marked_line(
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
                    _band(axes, curve, limit, colour)
                _marked_line(
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
        _finish_accuracy(figure, axes, limit, evaluations)
        return figure


def accuracy(evaluation: Evaluation) -> Figure:
    """Accuracy against ε of one model: certified below, each attack above, the combined rule between."""
    with style():
        figure, axes = _panel()
        limit = _eps_limit(evaluation)
        combined = evaluation.robust()
        pairwise, paper = evaluation.certified_on_attacked("pairwise"), evaluation.certified_on_attacked("paper")
        if combined is not None:
            _attack_lines(axes, evaluation)
        if pairwise is not None:
            _band(axes, pairwise, limit, GREEN)
            _line(axes, pairwise, limit, color=GREEN, linestyle=(0, (4, 2)), label="certified (pairwise)")
        if paper is not None:
            _line(axes, paper, limit, color=BLACK, linestyle=(0, (1, 1.2)), linewidth=1.4, label="certified (paper)")
        _finish_accuracy(figure, axes, limit, [evaluation])
        return figure


def single_attacks(evaluations: Sequence[Evaluation]) -> Figure:
    """Accuracy against ε of models under each attack by itself, one panel an attack (Fig. 3 of the paper).

    Models whose attacks did not each see every image have no such curve; the others look as in `comparison`.
    """
    drawn = [(place, item) for place, item in enumerate(evaluations) if item.full and item.robust() is not None]
    names = list(dict.fromkeys(name for _, item in drawn for name in item.attacks))
    columns = min(2, len(names))
    lines = -(-len(names) // columns)
    with style():
        figure = Figure(figsize=(0.6 + 3.4 * columns, 0.8 + 2.6 * lines), layout=ConstrainedLayoutEngine(wspace=0.06))
        panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        limit = 1.04 * max(epsilon_value(item.attacked_eps[-1]) for _, item in drawn)
        handles: dict[str, Any] = {}
        for number, axes in enumerate(panels.flatten()[: len(names)]):
            axes.set_title(names[number])
            for place, item in drawn:
                if (curve := item.robust(names[number])) is not None:
                    asked, colour = item.attacked_eps, COLOURS[place % len(COLOURS)]
                    _band(axes, curve, epsilon_value(asked[-1]), colour)
                    look = {"color": colour, "marker": MARKERS[place % len(MARKERS)]}
                    _marked_line(axes, curve, asked, epsilon_value(asked[-1]), **look)
                    handles[item.name] = axes.lines[-1]
            _scale_accuracy(axes, limit)
            axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
            axes.tick_params(labelbottom=number + columns >= len(names))
            if number + columns >= len(names):
                axes.set_xlabel(f"ε ({_unit(evaluations)})")
            if number % columns == 0:
                axes.set_ylabel("accuracy")
        for axes in panels.flatten()[len(names) :]:
            axes.set_axis_off()
        _legend_of_names(figure, list(handles.values()), list(handles))
        return figure


def accuracy_by_passes(evaluation: Evaluation) -> Figure:
    """Combined accuracy at a few ε against passes, cumulated from attack to attack; first the clean prediction.

    The passes of each attack must have been noted.
    """
    assert evaluation.attack is not None
    run, eps = evaluation.attack, evaluation.attacked_eps
    steps = [(budget.forward or 0) + (budget.backward or 0) for budget in evaluation.budgets.values()]
    whole = sum(passes_of(run.spent, COMBINED, way) or 0 for way in DIRECTIONS)
    spent = np.cumsum([max(0, whole - sum(steps)), *steps]) / run.n
    stages = course(run.records)
    few = [eps[place] for place in np.unique(np.linspace(0, len(eps) - 1, FEW_EPS).round().astype(int))]
    with style():
        figure, axes = _panel(7.2, 4.6)
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
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        figure.legend(handles=lines, loc="outside lower center", ncols=3)
        figure.legend(handles=markers, loc="outside right upper")
        return figure


def radius_distance(evaluation: Evaluation) -> Figure:
    """Attack distance against certified radius, one point an image; below the diagonal lie contradictions."""
    with style():
        figure, axes = _panel(5.2, 5.6)
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
        unit = _unit([evaluation])
        axes.set(xlabel=f"certified L2 radius ({unit})", ylabel=f"nearest adversarial, L2 distance ({unit})")
        if records:
            figure.legend(loc="outside lower center", ncols=2, markerscale=1.5)
        else:
            axes.annotate("no image is classified correctly", (0.5, 0.5), xycoords="axes fraction", ha="center")
        return figure


def image_grid(rows: Sequence[tuple[str, npt.NDArray[Any]]], captions: Sequence[Sequence[str]]) -> Figure:
    """Images side by side, one row a kind (Fig. 5 of the paper); the rows' names stand on the left.

    Args:
        rows: name and images (K, C, H, W) in [0, 1]; an image of NaN is left blank.
        captions: a short text under each image, one list a row.
    """
    columns = len(rows[0][1])
    margin = 0.3 + 0.075 * max(len(name) for name, _ in rows)
    width, height = margin + CELL[0] * columns, CELL[1] * len(rows)
    with style():
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((margin / width, 0.0, 1.0 - margin / width, 1.0))
        for line, (name, images) in enumerate(rows):
            axes.text(-0.1 / CELL[0], line + 0.45, name, ha="right", va="center", fontsize=9.5)
            for column in range(columns):
                _picture(axes, images[column], column, line)
                axes.text(column + 0.5, line + 0.9, captions[line][column], ha="center", va="center", fontsize=7.5)
        axes.set(xlim=(0, columns), ylim=(len(rows), 0), aspect="auto")
        axes.set_axis_off()
        return figure


def plane_gallery(
    clean: npt.NDArray[Any], labels: npt.NDArray[Any], moved: Sequence[tuple[str, npt.NDArray[Any]]]
) -> Figure:
    """Points of the plane with arrows to where an attack, or the gradient step, takes them.

    Args:
        clean: (K, 2) points.
        labels: (K,) classes.
        moved: name and (K, 2) points, NaN where there is none.
    """
    with style():
        figure, axes = _panel()
        for place, (name, points) in enumerate(moved):
            colour = COLOURS[(place + 2) % len(COLOURS)]
            steps = points - clean
            axes.quiver(
                *clean.T, *steps.T, angles="xy", scale_units="xy", scale=1, color=colour, width=0.004, label=name
            )
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


def output_distributions(values: npt.NDArray[Any], labels: npt.NDArray[Any], names: Sequence[str]) -> Figure:
    """How the values of f are distributed in each of two classes (paper, Fig. 1a and 2a).

    Args:
        values: (n,) f.
        labels: (n,) 0 or 1.
        names: of the two classes.
    """
    with style():
        figure, axes = _panel(5.6, 4.0)
        bins = np.linspace(values.min(), values.max(), 61).tolist()
        for label, (colour, hatch, sign) in enumerate(((BLUE, "////", "−1"), (ORANGE, "....", "+1"))):
            chosen = values[labels == label]
            axes.hist(
                chosen, bins, weights=np.full(len(chosen), 1 / len(chosen)), color=(colour, 0.45), edgecolor=colour,
                hatch=hatch, histtype="stepfilled", label=f"class {sign}: {names[label]}",
            )  # fmt: skip
        axes.axvline(0, color=BLACK, linewidth=1.2)
        axes.set(xlabel="f(x) (input units)", ylabel="share of the class")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        figure.legend(loc="outside lower center", ncols=2)
        return figure


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
    with style():
        figure, axes = _panel(6.6, 4.2)
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


def gradient_norms(norms: npt.NDArray[Any]) -> Figure:
    """Share of examples whose gradient norm is at most a value; Proposition 1 of the paper wants a step at 1."""
    with style():
        figure, axes = _panel(5.6, 3.6)
        axes.axvspan(0.95, 1.05, color=GREEN, alpha=0.14, linewidth=0, label="1 ± 0.05")
        axes.ecdf(norms, color=BLUE, label="examples")
        axes.set(xlim=(0, 1.1), ylim=(0, 1.005), xlabel="‖∇f(x)‖₂", ylabel="share of examples at or below")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        figure.legend(loc="outside lower center", ncols=2)
        return figure


def _panel(width: float = 6.4, height: float = 4.6) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _attack_lines(axes: Axes, evaluation: Evaluation) -> None:
    """The combined rule, and each attack where each saw every image; after a cascade a single attack has no curve."""
    asked = [epsilon_value(text) for text in evaluation.attacked_eps]
    for place, name in enumerate(evaluation.attacks if evaluation.full else ()):
        curve = evaluation.robust(name)
        assert curve is not None
        colour = (VERMILION, ORANGE, PURPLE, SKY, GREY)[place % 5]
        line = THIN_LINES[(place + place // 5) % len(THIN_LINES)]
        marker = MARKERS[(place + 1) % len(MARKERS)]
        _marked_line(
            axes, curve, evaluation.attacked_eps, asked[-1], marker=marker, color=colour, linestyle=line, linewidth=1.3,
            markersize=5, markerfacecolor="white", label=name,
        )  # fmt: skip
    combined = evaluation.robust()
    assert combined is not None
    _band(axes, combined, asked[-1], BLUE)
    _marked_line(
        axes,
        combined,
        evaluation.attacked_eps,
        asked[-1],
        color=BLUE,
        marker="o",
        linewidth=2.2,
        label="combined attacks",
    )


def _line(axes: Axes, curve: Curve, limit: float, **look: Any) -> None:
    eps = np.linspace(0.0, limit, GRID_POINTS)
    axes.plot(eps, curve.rates(eps), **look)


def _marked_line(axes: Axes, curve: Curve, marked: Sequence[str], limit: float, **look: Any) -> None:
    """A curve with a marker at some radii; the legend shows both."""
    eps = np.union1d(np.linspace(0.0, limit, GRID_POINTS), [epsilon_value(text) for text in marked])
    places = np.searchsorted(eps, [epsilon_value(text) for text in marked])
    axes.plot(eps, curve.rates(eps), markevery=places.tolist(), **look)


def _band(axes: Axes, curve: Curve, limit: float, colour: str) -> None:
    eps = np.linspace(0.0, limit, GRID_POINTS)
    low, high = curve.interval(eps)
    axes.fill_between(eps, low, high, color=colour, alpha=0.14, linewidth=0)


def _finish_accuracy(figure: Figure, axes: Axes, limit: float, evaluations: Sequence[Evaluation]) -> None:
    _scale_accuracy(axes, limit)
    axes.set(xlabel=f"L2 perturbation ε ({_unit(evaluations)})", ylabel="accuracy")
    _legend_of_names(figure, *axes.get_legend_handles_labels())


def _legend_of_names(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """A legend below the panels, in one column where names are long; the figure grows rather than its panels shrink."""
    longest = max((len(label) for label in labels), default=0)
    columns = 2 if longest <= LEGEND_WIDTH // 2 - 5 else 1
    shown = ["\n".join(textwrap.wrap(label, LEGEND_WIDTH)) or label for label in labels]
    rows = sum(label.count("\n") + 1 for label in shown) / columns
    figure.set_figheight(figure.get_figheight() + ROW_HEIGHT * max(0.0, rows - LEGEND_ROWS))
    figure.legend(handles, shown, loc="outside lower center", ncols=columns)


def _scale_accuracy(axes: Axes, limit: float) -> None:
    axes.set(xlim=(0, limit), ylim=(0, 1.005))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))


def _eps_limit(evaluation: Evaluation) -> float:
    """How far the ε axis goes: past the largest radius asked, or to where nothing is certified any more."""
    asked = 1.04 * max(epsilon_value(text) for text in evaluation.eps)
    curve = evaluation.certified("pairwise")
    if evaluation.attack is not None or curve is None:
        return asked
    return max(asked, min(1.05 * float(np.quantile(curve.thresholds, 0.99)), 3 * asked))


def _points(axes: Axes, x: npt.NDArray[Any], y: npt.NDArray[Any], place: int, label: str) -> None:
    colour = COLOURS[place % len(COLOURS)]
    size = 5.0 if x.size <= 200 else max(2.5, 5.0 * math.sqrt(200 / x.size))
    axes.plot(
        x, y, MARKERS[place % len(MARKERS)], color=colour, alpha=0.7, markersize=size, markeredgewidth=0, label=label,
        rasterized=True,
    )  # fmt: skip


def _picture(axes: Axes, image: npt.NDArray[Any], column: int, line: int) -> None:
    """One image in its cell, with its own proportions, above the place of its caption."""
    if not np.isfinite(image).all():
        axes.text(column + 0.5, line + 0.43, "none\nfound", ha="center", va="center", fontsize=8, color=GREY)
        return
    pixels = np.moveaxis(np.clip(image, 0.0, 1.0), 0, -1)
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    side = 0.8 * CELL[1] / max(pixels.shape[:2])
    half_width, half_height = pixels.shape[1] * side / CELL[0] / 2, pixels.shape[0] * side / CELL[1] / 2
    left, right = column + 0.5 - half_width, column + 0.5 + half_width
    axes.imshow(
        pixels, extent=(left, right, line + 0.43 + half_height, line + 0.43 - half_height), interpolation="nearest"
    )


def _unit(evaluations: Sequence[Evaluation]) -> str:
    return "pixel units" if all(item.is_image for item in evaluations) else "input units"

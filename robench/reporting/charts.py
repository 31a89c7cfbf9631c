"""Figures as numbers: what the page's own script draws, hides and reads out. Counts of images stay whole.

A rate is a count and the number of images, so that the script rounds it as `robench.numerics` does, from what is exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robench.numerics import ceil_decimals, floor_decimals
from robench.records.record import COMBINED
from robench.reporting.evaluation import Evaluation
from robench.reporting.figures.look import unit
from robench.reporting.strips import Strip
from robench.specs.epsilon import epsilon_value
from robench.statistics.budget import DIRECTIONS, passes_of
from robench.statistics.curves import Curve

GRID = 121
"""Places on the axis of ε beside the radii asked."""
NEAREST, SPREAD = 100, 300
"""Points of a model in the scatter: those nearest to the diagonal, and an even choice of the others."""

Keys = Mapping[str, str]


def accuracy(group: Sequence[Evaluation], keys: Keys, target: str) -> dict[str, Any]:
    """Certified and attacked accuracy against ε of each model.

    Args:
        group: the models.
        keys: of the models, by name.
        target: the ε at which they are ranked.
    """
    limit = max(epsilon_value(text) for item in group for text in (*item.eps, target))
    grid = _grid(group, 1.04 * limit, target)
    models = []
    for item in group:
        attacked, certified = item.robust(), item.certified_on_attacked()
        last = epsilon_value(item.attacked_eps[-1]) if item.attacked_eps else 0.0
        lines = [
            *([_line("attacked", attacked, grid[grid <= last])] if attacked is not None else []),
            *([_line("certified", certified, grid)] if certified is not None else []),
        ]
        models.append({"key": keys[item.name], "lines": lines})
    return {
        "kind": "curves", "x": _numbers(grid), "target": _numbers(np.array([epsilon_value(target)]))[0],
        "marks": np.searchsorted(grid, _asked(group)).tolist(), "models": models,
        "axes": [f"L2 perturbation ε ({unit(group)})", "accuracy (%)"],
    }  # fmt: skip


def single_attacks(group: Sequence[Evaluation], keys: Keys) -> dict[str, Any]:
    """Accuracy against ε under each attack, a panel an attack, of models whose attacks each saw every image.

    Args:
        group: the models.
        keys: of the models, by name.
    """
    drawn = [item for item in group if item.full and item.robust() is not None]
    names = list(dict.fromkeys(name for item in drawn for name in item.attacks))
    grid = _grid(drawn, max(epsilon_value(item.attacked_eps[-1]) for item in drawn))
    panels = [
        {
            "title": name,
            "models": [
                {"key": keys[item.name], "lines": [_line("attacked", curve, grid)]}
                for item in drawn
                if (curve := item.robust(name)) is not None
            ],
        }
        for name in names
    ]
    return {"kind": "panels", "x": _numbers(grid), "panels": panels, "axes": [f"ε ({unit(group)})", "accuracy (%)"]}


def radius_distance(group: Sequence[Evaluation], keys: Keys) -> dict[str, Any]:
    """Certified radius and distance of the nearest adversarial, a choice of the images of each model.

    Radii are rounded down and distances up, so that no point crosses the diagonal by rounding.

    Args:
        group: the models.
        keys: of the models, by name.
    """
    models = [{"key": keys[item.name], "points": _points(item)} for item in group if item.attack is not None]
    of = unit(group)
    return {
        "kind": "scatter", "models": models,
        "axes": [f"certified L2 radius ({of})", f"nearest adversarial, L2 distance ({of})"],
    }  # fmt: skip


def passes(group: Sequence[Evaluation], keys: Keys, target: str) -> dict[str, Any]:
    """Combined accuracy at one ε after each attack, against the passes of an image so far.

    Args:
        group: the models, each with the passes of its attacks.
        keys: of the models, by name.
        target: the ε.
    """
    models = []
    for item in group:
        assert item.attack is not None
        steps = [(budget.forward or 0) + (budget.backward or 0) for budget in item.budgets.values()]
        whole = sum(passes_of(item.attack.spent, COMBINED, way) or 0 for way in DIRECTIONS)
        spent = np.cumsum([max(0, whole - sum(steps)), *steps]) / item.attack.n
        counts = [int(curve.counts(epsilon_value(target))) for curve in item.course]
        models.append({
            "key": keys[item.name], "x": [round(float(value), 1) for value in spent], "counts": counts,
            "n": item.attack.n, "stages": ["clean", *(f"after {name}" for name in item.budgets)],
        })  # fmt: skip
    return {
        "kind": "passes", "models": models,
        "axes": ["forward and backward passes, mean of an image", f"accuracy at ε = {target} (%)"],
    }  # fmt: skip


def images(strips: Mapping[str, Strip]) -> dict[str, Any]:
    """Which images of which models there are to look into; the pictures are in the page once, at each model.

    Args:
        strips: by the key of a model.
    """
    models = [
        {
            "key": key, "index": list(strip.index), "rows": list(strip.rows), "facts": list(strip.facts),
            "captions": [list(row) for row in strip.captions], "cell": [strip.width, strip.height, strip.scale],
        }
        for key, strip in strips.items()
    ]  # fmt: skip
    return {
        "kind": "images",
        "models": models,
        "index": sorted({index for item in strips.values() for index in item.index}),
    }


def notes_passes(item: Evaluation) -> bool:
    """Whether the run noted the passes of each attack."""
    known = item.budgets.values()
    return bool(known) and all(budget.forward is not None and budget.backward is not None for budget in known)


def _grid(group: Sequence[Evaluation], limit: float, *marked: str) -> Any:
    texts = [*marked, *(text for item in group for text in item.eps)]
    values = [epsilon_value(text) for text in texts]
    return np.union1d(np.linspace(0.0, limit, GRID).round(4), [value for value in values if value <= limit])


def _asked(group: Sequence[Evaluation]) -> list[float]:
    """The radii at which curves have a marker."""
    return sorted({epsilon_value(text) for item in group for text in item.attacked_eps})


def _line(name: str, curve: Curve, grid: Any) -> dict[str, Any]:
    return {"name": name, "n": curve.n, "counts": curve.counts(grid).tolist()}


def _numbers(grid: Any) -> list[float]:
    return [float(f"{value:.6g}") for value in grid.tolist()]


def _points(item: Evaluation) -> list[list[float]]:
    records = item.attack.records if item.attack is not None else ()
    found = sorted(
        (record.distance - record.certified_radius, record.index, record.certified_radius, record.distance)
        for record in records
        if record.correct and record.distance is not None
    )
    rest = found[NEAREST:]
    chosen = [*found[:NEAREST], *(rest[place * len(rest) // SPREAD] for place in range(min(SPREAD, len(rest))))]
    return [
        [float(floor_decimals(radius, 4)), float(ceil_decimals(distance, 4)), index]
        for _, index, radius, distance in chosen
    ]

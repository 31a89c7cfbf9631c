"""The paper's Table 1 beside the same accuracies of models of two classes of images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from robench.reporting.claims.approaches import PAPER_NAMES, Approach, Field
from robench.reporting.claims.claim import points
from robench.reporting.tables.table import Column, Table, names
from robench.specs.epsilon import epsilon_value

PAPER_PIXELS = 128 * 128 * 3
"""Numbers in an image of the paper's CelebA."""
APPROACHES = ("adv", "gnp-hinge", "gnp-log", "hkr")
ROWS = (
    ("none", 0.0, (98.04, 97.2, 94.51, 96.07)),
    ("fgsm", 2.0, (90.52, 86.79, 81.40, 87.44)),
    ("fgsm", 5.0, (82.96, 37.70, 43.90, 64.01)),
    ("pgd", 2.0, (81.98, 88.65, 84.17, 88.75)),
    ("pgd", 5.0, (61.35, 34.90, 48.02, 69.79)),
    ("cw", 2.0, (32.14, 80.80, 79.02, 88.62)),
    ("cw", 5.0, (13.17, 29.46, 32.81, 56.44)),
)
"""Attack, ε and the paper's accuracies in percent, in the order of `APPROACHES`."""
NEAR = 0.02
"""An ε this near to the scaled one, relatively, stands for it."""


class Row(NamedTuple):
    """A row of the table.

    Fields:
        attack: name.
        eps: as asked here; empty without an attack.
        paper_eps: of the paper.
        cells: here and in the paper, by approach.
    """

    attack: str
    eps: str
    paper_eps: float
    cells: Sequence[tuple[str, float]]


def table_one(field: Field) -> Table | None:
    """The table for a field of two classes of images; None where its runs do not have what it shows.

    An ε of the paper is scaled by the root of the number of pixels, so that the mean change of a pixel is the same.
    """
    first = field.approaches[0].evaluations[0]
    shape, classes = first.data.shape, first.model.classes
    own = [next(iter(field.of(recipe)), None) for recipe in APPROACHES]
    if classes != 2 or len(shape) != 3 or None in own:
        return None
    chosen = [item for item in own if item is not None]
    scale = math.sqrt(math.prod(shape) / PAPER_PIXELS)
    rows = []
    for attack, eps, paper in ROWS:
        text = _asked(chosen, eps * scale) if eps else ""
        if text is None or (eps and any(attack not in item.attacks for item in chosen)):
            continue
        rows.append(
            Row(
                attack,
                text,
                eps,
                [(_rate(item, attack, text), value) for item, value in zip(chosen, paper, strict=True)],
            )
        )
    if not rows:
        return None
    columns = [Column(PAPER_NAMES[recipe], _cell(place)) for place, recipe in enumerate(APPROACHES)]
    return Table.of(rows, [
        names("attack", lambda row: row.attack),
        Column("ε", lambda row: row.eps or "0"),
        Column("ε of the paper", lambda row: f"{row.paper_eps:g}"),
        *columns,
    ])  # fmt: skip


def _cell(place: int) -> Callable[[Row], str]:
    """Of one approach: here, and in brackets the paper's."""
    return lambda row: f"{row.cells[place][0]} ({row.cells[place][1]:g})"


def _asked(items: Sequence[Approach], wanted: float) -> str | None:
    """The ε, as all were asked, that stands for the scaled one."""
    shared = [text for text in items[0].eps if all(text in item.eps for item in items)]
    return next((text for text in shared if abs(epsilon_value(text) - wanted) <= NEAR * wanted), None)


def _rate(item: Approach, attack: str, eps: str) -> str:
    keys = sorted(item.images)
    if not eps:
        values = list(item.correct().values())
        return points(sum(values) / len(values))
    return points(float(item.robust(keys, eps, attack).mean()))

"""`potential.json`, `outputs.csv` and the figures of a two-class model as a transport potential."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt
import pandas as pd

from robench.files import create_folder, write_atomic, write_json
from robench.reporting import figures

SUMMARY, OUTPUTS = "potential.json", "outputs.csv"


class Measured(Protocol):
    """f on a sample, as `robench.transport.potential.Potential`."""

    @property
    def index(self) -> npt.NDArray[Any]:
        """(n,) position in the split."""

    @property
    def positive(self) -> npt.NDArray[Any]:
        """(n,) whether the class is +1."""

    @property
    def values(self) -> npt.NDArray[Any]:
        """(n,) f."""

    @property
    def gradient_norms(self) -> npt.NDArray[Any]:
        """(n,) L2 norm of its gradient."""


def write_potential(
    out: Path,
    summary: Mapping[str, Any],
    found: Measured,
    points: npt.NDArray[Any],
    levels: tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]] | None,
    names: Sequence[str],
) -> None:
    """Write the folder.

    Args:
        out: where; made if absent.
        summary: plain data for `potential.json`, written last.
        found: f on the sample.
        points: (n, d) the sample.
        levels: x, y and f on a grid of the plane; None where inputs are not points of the plane.
        names: of the two classes.

    Raises:
        RunError: the folder cannot be written.
    """
    create_folder(out)
    labels = found.positive.astype(int)
    table = pd.DataFrame(
        {"index": found.index, "label": labels, "f": found.values, "gradient_norm": found.gradient_norms}
    )
    write_atomic(out / OUTPUTS, table.to_csv(index=False, lineterminator="\n"))
    drawn = {
        "outputs": figures.output_distributions(found.values, labels, names),
        "gradient-norms": figures.gradient_norms(found.gradient_norms),
    }
    if levels is not None:
        drawn["level-map"] = figures.level_map(*levels, points, labels, names)
    for name, figure in drawn.items():
        write_atomic(out / f"{name}.png", figures.image_bytes(figure, "png"))
        write_atomic(out / f"{name}.svg", figures.image_bytes(figure, "svg"))
    write_json(out / SUMMARY, summary)

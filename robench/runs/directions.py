"""The slopes of an attack run on disk: what the gradient says at each attacked image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from robench.errors import RunError
from robench.files import read_json, write_atomic
from robench.records.direction import Direction
from robench.records.shapes import misfit

DIRECTIONS = "directions.json"
SHAPE = {"index": [int], "slope": [float], "cosine": [(float, None)]}
DIGITS = 6


def write_directions(folder: Path, found: Sequence[Direction]) -> None:
    """Write those of a run, column by column, to six digits.

    Raises:
        RunError: the folder cannot be written.
    """
    columns = {
        "index": [item.index for item in found],
        "slope": [round(item.slope, DIGITS) for item in found],
        "cosine": [None if item.cosine is None else round(item.cosine, DIGITS) for item in found],
    }
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(values, allow_nan=False)}" for name, values in columns.items())
    write_atomic(folder / DIRECTIONS, f"{{{lines}}}\n")


def read_directions(folder: Path) -> list[Direction]:
    """Those of a run; none where the run is of an older robench or not finished.

    Raises:
        RunError: the file is broken.
    """
    path = folder / DIRECTIONS
    if not path.exists():
        return []
    data = read_json(path)
    problem = misfit(data, SHAPE, DIRECTIONS)
    if problem or set(data) != set(SHAPE) or len({len(column) for column in data.values()}) > 1:
        hint = "move it elsewhere; everything else is read without it"
        raise RunError(f"`{path}` is not as robench wrote it: {problem or 'its columns do not fit'}", hint=hint)
    rows = zip(data["index"], data["slope"], data["cosine"], strict=True)
    return [Direction(index=index, slope=slope, cosine=cosine) for index, slope, cosine in rows]

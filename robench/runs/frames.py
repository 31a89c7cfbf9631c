"""Records as a pandas data frame, for a notebook. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from robench.records.record import AttackRecord, CertifyRecord
from robench.runs.run import read_runs

WORDS = {"run": "category", "model": "category", "data": "category", "command": "category"}
IMAGE = {"index": "int64", "label": "int64", "predicted": "int64", "correct": "bool", "certified_radius": "float64"}
CERTIFIED = {"certified_radius_paper": "float64", "margin": "float64", "runner_up": "Int64", "status": "category"}
ATTACKED = {"distance": "float64", "attack": "category"}
OUTCOME = {"status": "category", "distance": "float64", "predicted": "Int64"}


def read(*paths: str | PathLike[str]) -> pd.DataFrame:
    """The records of certify and attack runs, one row an image of a run, with flat columns.

    - `run`, `model`, `data`, `command`: which run the row is of.
    - `index`, `label`, `predicted`, `correct`: the image, its true class, and the class without any attack.
    - `certified_radius`: by the pairwise rule; 0.0 where the image is misclassified or nothing is proven, so that
      `frame["certified_radius"] > eps` is certified accuracy.
    - of certify runs: `certified_radius_paper`, `margin`, `runner_up`, `status`.
    - of attack runs: `distance` and `attack` of the nearest adversarial (0.0 where misclassified), and for each attack
      `NAME_status`, `NAME_distance`, `NAME_predicted`.

    What does not exist is missing (NaN or NA). Classes that may be missing are `Int64`, names are categories.

    Args:
        paths: run folders, or folders that hold some at any depth.

    Raises:
        RunError: there is no such run, or one of them cannot be read or is of another schema version.

    Example:
        >>> import pathlib, tempfile, robench
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "net.py").write_text("import torch; net = torch.nn.Linear(2, 1)")
        >>> _ = robench.workflows.certify(
        ...     f"{folder}/net.py:net", robench.workflows.DataRef("two-moons", limit=3), out=folder / "run"
        ... )
        >>> frame = robench.read(folder / "run")
        >>> len(frame), list(frame.columns[:3]), float(frame["certified_radius"].min()) >= 0
        (3, ['run', 'model', 'data'], True)
    """
    runs = read_runs([Path(path) for path in paths])
    rows: list[dict[str, Any]] = []
    types = {**WORDS, **IMAGE}
    for run in runs:
        head = {"run": run.name, "model": run.model_name, "data": run.data_name, "command": run.command}
        types |= CERTIFIED if run.command == "certify" else ATTACKED
        for record in run.records:
            row = _certified(record) if isinstance(record, CertifyRecord) else _attacked(record)
            rows.append({**head, "index": record.index, "label": record.label, "predicted": record.predicted,
                         "correct": record.predicted == record.label, **row})  # fmt: skip
            if isinstance(record, AttackRecord):
                types |= _of_attacks(record.attacks)
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def _certified(record: CertifyRecord) -> dict[str, Any]:
    return {
        "certified_radius": record.radius("pairwise"),
        "certified_radius_paper": record.radius("paper"),
        "margin": record.margin,
        "runner_up": record.runner_up,
        "status": record.status.value,
    }


def _attacked(record: AttackRecord) -> dict[str, Any]:
    outcomes = {
        f"{name}_{part}": value
        for name, outcome in record.attacks.items()
        for part, value in zip(OUTCOME, (outcome.status.value, outcome.distance, outcome.predicted), strict=True)
    }
    return {
        "certified_radius": record.certified_radius if record.correct else 0.0,
        "distance": record.distance,
        "attack": record.attack,
        **outcomes,
    }


def _of_attacks(attacks: Mapping[str, Any]) -> dict[str, str]:
    """Columns of some attacks, with their types."""
    return {f"{name}_{part}": kind for name in attacks for part, kind in OUTCOME.items()}

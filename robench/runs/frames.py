"""Records as a pandas data frame, for a notebook. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from robench.errors import RunError
from robench.records.record import AttackRecord, CertifyRecord, rules_of
from robench.records.smoothed import SmoothedRecord
from robench.runs.run import Run, read_runs, read_smoothed_runs

WORDS = {"run": "category", "model": "category", "data": "category", "command": "category"}
IMAGE = {"index": "int64", "label": "int64", "predicted": "int64", "correct": "bool", "certified_radius": "float64"}
CERTIFIED = {"margin": "float64", "runner_up": "Int64", "status": "category"}
ATTACKED = {"distance": "float64", "attack": "category"}
SMOOTHED = {"radius": "float64", "chosen": "int64", "chosen_count": "int64", "count": "int64", "offset": "float64",
            "sigma": "float64", "n": "int64", "n0": "int64", "alpha": "float64"}  # fmt: skip
OUTCOME = {"status": "category", "distance": "float64", "predicted": "Int64"}


def read(*paths: str | PathLike[str]) -> pd.DataFrame:
    """The records of certify and attack runs, one row an image of a run, with flat columns.

    - `run`, `model`, `data`, `command`: which run the row is of.
    - `index`, `label`, `predicted`, `correct`: the image, its true class, and the class without any attack.
    - `certified_radius`: the largest of all rules; 0.0 where the image is misclassified or nothing is proven, so that
      `frame["certified_radius"] > eps` is certified accuracy.
    - of certify runs: `certified_radius_paper`, `certified_radius_pairwise`, and one of each further rule that was
      computed; `margin`, `runner_up`, `status`.
    - of attack runs: `distance` and `attack` of the nearest adversarial (0.0 where misclassified), and for each attack
      `NAME_status`, `NAME_distance`, `NAME_predicted`.

    What does not exist is missing (NaN or NA). Classes that may be missing are `Int64`, names are categories.

    Args:
        paths: run folders, or folders that hold some at any depth.

    Raises:
        RunError: there is no such run, or one of them cannot be read or is of another schema version.

    Examples:
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
    try:
        folders = [Path(path) for path in paths]
    except TypeError:
        raise RunError(f"{paths} are no paths", hint='name run folders: `read("run", "other-run")`') from None
    runs = read_runs(folders)
    rows: list[dict[str, Any]] = []
    types = {**WORDS, **IMAGE}
    for run in runs:
        head = {"run": run.name, "model": run.model_name, "data": run.data_name, "command": run.command}
        if run.command == "certify":
            certified = [record for record in run.records if isinstance(record, CertifyRecord)]
            types |= {f"certified_radius_{rule}": "float64" for rule in rules_of(certified)} | CERTIFIED
        else:
            types |= ATTACKED
        for record in run.records:
            row = _certified(record) if isinstance(record, CertifyRecord) else _attacked(record)
            rows.append({**head, "index": record.index, "label": record.label, "predicted": record.predicted,
                         "correct": record.predicted == record.label, **row})  # fmt: skip
            if isinstance(record, AttackRecord):
                types |= _of_attacks(record.attacks)
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def read_smoothed(*paths: str | PathLike[str]) -> pd.DataFrame:
    """The records of runs of smoothed classifiers, one row an image of a run; `read` passes over these runs.

    - `run`, `model`, `data`, `command`, `index`, `label`, `correct`: as of `read`.
    - `predicted`: class of the smoothed classifier, missing where it abstains.
    - `certified_radius`: 0.0 where it is wrong or abstains; `radius` is that of the predicted class.
    - `chosen`, `chosen_count`, `count`, `offset`, `status`; and of the run `sigma`, `n`, `n0`, `alpha`.

    Args:
        paths: run folders of `certify --method smoothing`, or folders that hold some at any depth.

    Raises:
        RunError: as of `read`.

    Examples:
        >>> import pathlib, tempfile, robench
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "net.py").write_text(
        ...     "import torch; net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))"
        ... )
        >>> digits = robench.workflows.DataRef("digits", limit=3)
        >>> _ = robench.workflows.certify_smoothed(
        ...     f"{folder}/net.py:net", digits, sigma=0.25, n=100, out=folder / "run"
        ... )
        >>> frame = robench.read_smoothed(folder)
        >>> len(frame), frame["command"].unique().tolist(), frame["sigma"].unique().tolist()
        (3, ['certify-smoothed'], [0.25])
    """
    runs = read_smoothed_runs([Path(path) for path in paths])
    if not runs:
        raise RunError(
            "there is no run of a smoothed classifier", hint="name the --out folders of `certify --method smoothing`"
        )
    types = {**WORDS, **IMAGE, "predicted": "Int64", **SMOOTHED, "status": "category"}
    rows = [_smoothed(run, record) for run in runs for record in run.records]
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def _smoothed(run: Run[SmoothedRecord], record: SmoothedRecord) -> dict[str, Any]:
    head = {"run": run.name, "model": run.model_name, "data": run.data_name, "command": run.command}
    return {
        **head,
        **vars(record),
        "correct": record.correct,
        "certified_radius": record.certified_radius,
        "status": record.status.value,
        **run.spec["sampling"],
    }


def _certified(record: CertifyRecord) -> dict[str, Any]:
    return {
        "certified_radius": record.certified_radius,
        **{f"certified_radius_{rule}": record.radius(rule) for rule in record.rules},
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

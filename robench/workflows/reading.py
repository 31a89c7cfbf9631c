"""`robench report` and `robench verify`: what is done with finished run folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robench import verification
from robench.records.record import SCHEMA_VERSION


def report(runs: Sequence[Path], out: Path) -> Path:
    """Write the report over run folders; the path of its HTML page.

    Raises:
        RunError: there is no run, or the report cannot be written.
    """
    from robench.reporting import build_report  # plotting libraries, which no other command needs

    return build_report(runs, out)


def verify(run: Path, *, model: Path | None = None, data_dir: Path | None = None) -> dict[str, Any]:
    """Re-execute the certificates and adversarials of a run in numpy float64; counts, and a text for each failure.

    Raises:
        RunError: the run, the model or the data are missing, or not those of the run.
    """
    found = verification.verify(run, model=model, data_dir=data_dir).to_dict()
    return {"schema_version": SCHEMA_VERSION, "command": "verify", **found}

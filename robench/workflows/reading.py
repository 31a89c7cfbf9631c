"""`robench report`, `robench claims` and `robench verify`: what is done with finished run folders."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robench import verification
from robench.errors import SpecError
from robench.records.record import SCHEMA_VERSION

if TYPE_CHECKING:
    from robench.reporting.exchange import Layout


def report(runs: Sequence[str | PathLike[str]], out: str | PathLike[str], *, target_eps: str | None = None) -> Path:
    """Write the report over run folders; the path of its HTML page.

    Args:
        runs: run folders, or folders that hold some at any depth.
        out: folder of the report.
        target_eps: the L2 radius at which models are ranked, as written; None for the usual one of each data set.

    Raises:
        RunError: there is no run, or the report cannot be written.
        SpecError: `target_eps` is no radius.
    """
    from robench.reporting import build_report  # plotting libraries, which no other command needs

    return build_report([Path(run) for run in runs], Path(out), target_eps=target_eps)


def exchange(runs: Sequence[str | PathLike[str]], out: str | PathLike[str], layouts: Sequence[Layout]) -> list[Path]:
    """Write runs in the layouts of other projects; the files.

    Args:
        runs: run folders, or folders that hold some at any depth.
        out: folder to write to; each layout gets a folder of its name there.
        layouts: `tsv` (locuslab/smoothing), `robustbench`, `attackbench`.

    Raises:
        RunError: there is no run, none that a layout can hold, or a file cannot be written.
    """
    from robench.reporting.exchange import write_exchange

    return write_exchange([Path(run) for run in runs], Path(out), layouts)


def claims(runs: Sequence[str | PathLike[str]], out: str | PathLike[str]) -> dict[str, Any]:
    """Hold the claims of the paper against run folders, and write them down; each with figure, interval and verdict.

    Args:
        runs: folders of `certify`, `attack` and `potential`, or folders that hold some at any depth; and CSV files of
            earlier pages, whose rows are taken as they are.
        out: the page, a file that ends in `.md`; a CSV of the same name lies beside it.

    Raises:
        SpecError: `out` has another ending.
        RunError: there is no run, one cannot be read, two say the same, or the page cannot be written.
    """
    from robench.reporting.claims import held_against, read_evidence, write_claims

    if Path(out).suffix != ".md":
        raise SpecError(f"`{out}` does not end in .md", hint="name a Markdown file, such as claims.md")
    evidence = read_evidence([Path(run) for run in runs])
    found = held_against(evidence)
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "claims",
        "claims": [claim.to_dict() for claim in found],
        "page": str(write_claims(Path(out), found, evidence)),
    }


def heading(command: str) -> dict[str, Any]:
    """What every JSON document begins with."""
    return {"schema_version": SCHEMA_VERSION, "command": command}


def verify(
    run: str | PathLike[str],
    *,
    model: str | PathLike[str] | None = None,
    data_dir: str | PathLike[str] | None = None,
) -> dict[str, Any]:
    """Re-execute the certificates and adversarials of a run in numpy float64; counts, and a text for each failure.

    Args:
        run: the run folder.
        model: the model folder; None for the one that the run names.
        data_dir: where the data are; None for where the run found them.

    Raises:
        RunError: the run, the model or the data are missing, or not those of the run.
    """
    found = verification.verify(
        Path(run),
        model=None if model is None else Path(model),
        data_dir=None if data_dir is None else Path(data_dir),
    ).to_dict()
    return {**heading("verify"), "folder": str(run), **found}

"""The table of smoothed classifiers. It stands by itself: none of them is a model that is certified or attacked."""

from __future__ import annotations

from collections.abc import Sequence

from robench.records.smoothed import SmoothedRecord, SmoothedStatus, confidence
from robench.reporting.tables import cells
from robench.reporting.tables.table import Column, Rate, Table, below, by_eps, names
from robench.runs.run import Run
from robench.specs.epsilon import DEFAULT_EPS, ascending
from robench.specs.smoothing import Sampling
from robench.statistics import curves

SmoothedRun = Run[SmoothedRecord]


def smoothed(runs: Sequence[SmoothedRun]) -> Table:
    """One row a run: the noise, the probability of its certificates, and what is certified at each ε."""
    every = ascending(text for run in runs for text in asked(run))
    return Table.of(runs, [
        names("base model", lambda run: run.model_name),
        names("run", lambda run: run.name),
        names("status", lambda run: run.status),
        Column("σ", lambda run: sampling(run).sigma, lambda value: f"{value:g}"),
        Column("draws", lambda run: sampling(run).n),
        Column("probability per image", lambda run: 1 - sampling(run).alpha, lambda value: f"{value:g}"),
        Column("of all images", lambda run: confidence(run.n, sampling(run).alpha), lambda value: f"{value:g}"),
        Column("n", lambda run: run.n),
        Column("accuracy %", lambda run: _rate(run, SmoothedStatus.CERTIFIED, proven=True)),
        Column("abstains %", lambda run: _rate(run, SmoothedStatus.ABSTAINED, proven=False)),
        Column("base rate %", lambda run: cells.base(run)),
        below("mean radius", lambda run: curves.smoothed(run.records).mean if run.n else None),
        *by_eps("certified % at", every, lambda run, eps: cells.certified(curves.smoothed(run.records), eps)),
    ])  # fmt: skip


def asked(run: SmoothedRun) -> tuple[str, ...]:
    """The radii that a run was asked about; the usual ones where it was asked about none."""
    return ascending(run.facts.get("eps", ())) or DEFAULT_EPS


def sampling(run: SmoothedRun) -> Sampling:
    """The noise of a run.

    Raises:
        SpecError: the manifest does not tell it.
    """
    return Sampling.from_dict(run.spec.get("sampling") or {})


def _rate(run: SmoothedRun, status: SmoothedStatus, *, proven: bool) -> Rate | None:
    return Rate(sum(record.status is status for record in run.records), run.n, proven) if run.n else None

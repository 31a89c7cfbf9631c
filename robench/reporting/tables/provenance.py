"""Tables of what was run, and of what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter

from robench.numerics import ABSENT
from robench.reporting.evaluation import Evaluation
from robench.reporting.tables.smoothed import SmoothedRun
from robench.reporting.tables.table import Column, Table, above, names
from robench.runs.facts import DataFacts
from robench.runs.run import AnyRun


def contradictions(evaluations: Sequence[Evaluation]) -> Table:
    """One row an adversarial below a certified radius; there should be none."""
    return Table.of([(item.name, found) for item in evaluations for found in item.contradictions], [
        names("model", lambda row: row[0]),
        Column("image", lambda row: row[1].index),
        names("attack", lambda row: row[1].attack),
        names("rule", lambda row: row[1].rule),
        Column("certified radius", lambda row: row[1].radius, repr),
        Column("distance", lambda row: row[1].distance, repr),
    ])  # fmt: skip


def flags(evaluations: Sequence[Evaluation]) -> Table:
    """One row a diagnostic that says that an evaluation may be wrong."""
    return Table.of(dict.fromkeys((item.name, flag) for item in evaluations for flag in item.flags), [
        names("model", lambda row: row[0]),
        names("run", lambda row: row[1].run),
        names("flag", lambda row: row[1].name),
        names("message", lambda row: row[1].message),
    ])  # fmt: skip


def runs(evaluations: Sequence[Evaluation], smoothed: Sequence[SmoothedRun] = ()) -> Table:
    """One row a run: what was computed, on what, where, and at what cost."""
    return Table.of(_each_run(evaluations, smoothed), [
        names("run", lambda row: row[1].name),
        names("model", lambda row: row[0]),
        names("command", lambda row: row[1].command),
        names("status", lambda row: row[1].status),
        Column("images", lambda row: row[1].n),
        names("data", lambda row: _data(row[1].data)),
        names("device", lambda row: row[1].device),
        Column("forward passes", lambda row: _passes(row[1]).get("forward")),
        Column("backward passes", lambda row: _passes(row[1]).get("backward")),
        above("seconds", lambda row: row[1].summary.get("seconds"), 1),
    ])  # fmt: skip


def provenance(evaluations: Sequence[Evaluation], smoothed: Sequence[SmoothedRun] = ()) -> Table:
    """Command line, hashes and versions of each run, in full, one row each: what it takes to make it again."""
    rows = [(run.name, *item) for _, run in _each_run(evaluations, smoothed) for item in _provenance(run).items()]
    return Table.of(rows, [names(title, itemgetter(place)) for place, title in enumerate(("run", "", "value"))])


def _each_run(
    evaluations: Sequence[Evaluation], smoothed: Sequence[SmoothedRun]
) -> list[tuple[str, AnyRun | SmoothedRun]]:
    """Each run once with what its model is called, though a certify run may stand beside several attack runs."""
    seen = {run.folder: (item.name, run) for item in evaluations for other in item.whole for run in other.runs}
    return [*seen.values(), *((run.model_name, run) for run in smoothed)]


def _data(facts: DataFacts) -> str:
    return f"{facts.name or ABSENT} {facts.split or ''}".strip()


def _passes(run: AnyRun | SmoothedRun) -> Mapping[str, float]:
    return run.summary.get("passes") or {}


def _provenance(run: AnyRun | SmoothedRun) -> dict[str, str | None]:
    environment = run.manifest.get("environment", {})
    git = environment.get("git") or {}
    return {
        "command line": " ".join(["robench", *map(str, run.manifest.get("argv", ()))]),
        "seed": None if run.spec.get("seed") is None else str(run.spec["seed"]),
        "created": run.manifest.get("created") or None,
        "weights SHA-256": run.weights_sha256 or None,
        "data SHA-256": run.data.sha256 or None,
        "spec digest": run.manifest.get("spec_digest") or None,
        "versions": ", ".join(f"{name} {version}" for name, version in environment.get("versions", {}).items()),
        "platform": environment.get("platform") or None,
        "git commit": f"{git['commit']}{' with changes' if git.get('dirty') else ''}" if "commit" in git else None,
    }

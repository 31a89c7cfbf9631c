"""The table that the page begins with: models by rank at one ε, with all that decides between them."""

from __future__ import annotations

from robench.numerics import upper
from robench.reporting.evaluation import Evaluation
from robench.reporting.tables.standings import Ranking, Standing
from robench.reporting.tables.table import Column, Table, above, below, names


def ranked(ranking: Ranking) -> Table:
    """One row a model, the best first.

    What is certified, attacked and open stands side by side of the same images, the attacked ones. Where more were
    certified, the rate that ranks the models stands before them.
    """
    rows = ranking.standings
    apart = any(row.certified and row.low and row.certified.n != row.low.n for row in rows)
    group = ("of the attacked images %", "certified", "attacked", "open") if apart else ()
    title, *leaves = group or ("", "", "", "")
    return Table.of(rows, [
        names("model", lambda row: row.item.name),
        Column("rank", lambda row: row.rank),
        *([Column("certified %", lambda row: row.certified)] if apart else []),
        Column(title or "certified %", lambda row: row.low, leaf=leaves[0]),
        Column(title or "attacked %", lambda row: row.attacked, leaf=leaves[1]),
        Column(title or "open %", lambda row: row.gap, leaf=leaves[2]),
        Column("clean %", lambda row: row.clean),
        below("mean radius", lambda row: row.radius, 3),
        above("Lipschitz bound", lambda row: row.item.bound.lipschitz_upper, 3),
        above("train s", lambda row: row.item.training_seconds, 1),
        above("certify s", lambda row: _seconds(row, "certify"), 1),
        above("attack s", lambda row: _seconds(row, "attack"), 1),
        above("passes / image", lambda row: row.item.passes_an_image, 0),
        Column("p to first", lambda row: None if row.against_best is None else row.against_best.p, chance),
        Column("doubts", lambda row: len(row.item.contradictions) + len({flag.name for flag in row.item.flags})),
    ])  # fmt: skip


def further_runs(item: Evaluation, eps: str) -> Table:
    """One row for each further evaluation of a model, beside the one that counts."""
    rows = [Standing(item=other, eps=eps, rank=None, against_best=None) for other in item.whole]
    return Table.of(rows, [
        names("runs", lambda row: ", ".join(run.name for run in row.item.runs)),
        names("arithmetic", lambda row: row.item.runs[0].arithmetic),
        names("attacks", lambda row: ", ".join(row.item.attacks) or None),
        Column("n certified", lambda row: row.certified and row.certified.n),
        Column("n attacked", lambda row: row.attacked and row.attacked.n),
        Column(f"certified % ε = {eps}", lambda row: row.certified),
        Column(f"attacked % ε = {eps}", lambda row: row.attacked),
    ])  # fmt: skip


def chance(p: float) -> str:
    """A p-value, never rounded down."""
    return "< 0.001" if p < 0.001 else upper(p, 3 if p < 0.1 else 2)


def _seconds(row: Standing, command: str) -> float | None:
    run = row.item.certify if command == "certify" else row.item.attack
    value = None if run is None else run.summary.get("seconds")
    return None if value is None else float(value)

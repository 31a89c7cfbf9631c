"""The claims as a page of Markdown and as rows of CSV."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from robench.files import create_folder, write_atomic
from robench.numerics import spread
from robench.reporting import formats
from robench.reporting.claims.approaches import Approach, Field
from robench.reporting.claims.claim import Claim, points
from robench.reporting.claims.held import Evidence
from robench.reporting.claims.kept import COLUMNS
from robench.reporting.claims.table_one import table_one
from robench.reporting.tables.table import Column, Table, by_eps, names
from robench.specs.epsilon import ascending
from robench.statistics.convergence import FLAT, Settling, settling

LEAD = """
Every claim of Serrurier et al., "Achieving robustness in classification using optimal transport with hinge
regularization", of which run folders can speak. Each row is one set of models on one data set. All accuracies of a row
are on the same images. Intervals are 95 % ones of the images: paired differences by Agresti and Min, medians by order
statistics. They do not cover that another training would give another model; several seeds are pooled image by image.
Each interval is of one comparison: none is widened because there are many.
"""
SCALED = """
Accuracy in percent here, and in brackets the paper's on CelebA. ε is scaled by the root of the number of pixels, so
that the mean change of a pixel is the same. Other faces and another network: orders can be compared, numbers cannot.
"""
OVER_SEEDS = "In percent, rounded up: the mean over the seeds, with the least and the greatest where there are several."
SETTLED = f"""
Accuracy on the validation split over the last third of the epochs: mean of its second half less mean of its first
half, in points. Less than {points(FLAT)} up or down counts as flat. Of several seeds the largest change is shown.
"""


KEPT = """
Their rows above are as those pages have them. Accuracies of all approaches, Table 1 of the paper and how the trainings
ended are there.
"""


def write_claims(out: Path, claims: Sequence[Claim], evidence: Evidence) -> Path:
    """Write the page, and a CSV of the same name beside it; the path of the page.

    Args:
        out: the page, a file that ends in `.md`.
        claims: in order.
        evidence: that they were held against.

    Raises:
        RunError: it cannot be written.
    """
    create_folder(out.parent)
    parts = ["# Claims of the paper", LEAD, "## All claims at a glance", formats.to_markdown(_glance(claims))]
    for number, members in groupby(claims, key=lambda claim: claim.number):
        rows = list(members)
        said = rows[0].said
        parts += [f"## {number}. {formats.markdown(said.text)}", f"In the paper: {formats.markdown(said.place)}."]
        parts += [formats.to_markdown(_of_one(rows))]
        rules = dict.fromkeys(row.rule for row in rows if row.rule)
        parts += [f"Verdict by: {formats.markdown(rule)}." for rule in rules]
    parts += _tables(evidence)
    if evidence.kept:
        parts += ["## Pages of single sets", KEPT, "\n".join(_link(page.file, out) for page in evidence.kept)]
    write_atomic(out, "\n\n".join(part.strip("\n") for part in parts) + "\n")
    frame = pd.DataFrame([claim.to_dict() for claim in claims])
    write_atomic(out.with_suffix(".csv"), formats.to_csv(frame[list(COLUMNS)]))
    return out


def _link(file: Path, out: Path) -> str:
    """An earlier page as an item of a list, relative to the new one."""
    name = Path(os.path.relpath(file.with_suffix(".md"), out.parent)).as_posix()
    return f"- [{formats.markdown(name)}]({quote(name)})"


def _glance(claims: Sequence[Claim]) -> Table:
    """One row a claim: what its rows say, counted."""
    grouped = [(number, list(rows)) for number, rows in groupby(claims, key=lambda claim: claim.number)]
    return Table.of(grouped, [
        Column("", lambda row: row[0]),
        names("claim", lambda row: row[1][0].said.text),
        names("verdict on each set", lambda row: _counted(row[1])),
    ])  # fmt: skip


def _counted(rows: Sequence[Claim]) -> str:
    verdicts = [row.verdict.value for row in rows]
    return ", ".join(f"{verdict}: {verdicts.count(verdict)}" for verdict in dict.fromkeys(verdicts))


def _of_one(rows: Sequence[Claim]) -> Table:
    return Table.of(rows, [
        names("models", lambda row: row.models),
        names("figure", lambda row: row.figure or None),
        names("interval", lambda row: row.interval or None),
        names("verdict", lambda row: row.verdict.value),
    ])  # fmt: skip


def _tables(evidence: Evidence) -> list[str]:
    """Numbers that are no claims: Table 1, all approaches over their seeds, and how trainings ended."""
    parts: list[str] = []
    for field in evidence.fields:
        table = table_one(field)
        if table is not None:
            parts += [f"## Table 1 of the paper beside {formats.markdown(field.name)}"]
            parts += [SCALED, formats.to_markdown(table)]
    if evidence.fields:
        parts += ["## Accuracy under all attacks", OVER_SEEDS]
        parts += [part for field in evidence.fields for part in _accuracies(field)]
        parts += ["## How the trainings ended", SETTLED, formats.to_markdown(_endings(evidence.fields))]
    return parts


def _accuracies(field: Field) -> list[str]:
    """One row an approach: clean, and under all attacks at each ε."""
    eps = ascending(text for item in field.approaches for text in item.eps)
    columns = [
        names("approach", lambda item: item.name),
        Column("seeds", lambda item: len(item.evaluations)),
        Column("clean", lambda item: spread([_clean(one) for one in _alone(item)])),
        *by_eps("attacked at", eps, _attacked),
    ]
    return [f"**{formats.markdown(field.name)}**", formats.to_markdown(Table.of(field.approaches, columns))]


def _alone(item: Approach) -> list[Approach]:
    """Each of its models by itself."""
    return [Approach(training=item.training, evaluations=(one,)) for one in item.evaluations]


def _clean(item: Approach) -> Fraction:
    """Of one model: its images count whole, and their share is exact, as it is rounded up."""
    values = list(item.correct().values())
    return Fraction(int(sum(values)), len(values))


def _attacked(item: Approach, eps: str) -> str | None:
    if eps not in item.eps:
        return None
    stand = [one.robust(sorted(one.images), eps) for one in _alone(item)]
    return spread([Fraction(int(each.sum()), len(each)) for each in stand])


def _endings(fields: Sequence[Field]) -> Table:
    rows = [(field, item) for field in fields for item in field.approaches]
    return Table.of(rows, [
        names("models", lambda row: row[0].name),
        names("approach", lambda row: row[1].name),
        Column("epochs", lambda row: row[1].training.epochs),
        Column("change in points", lambda row: _change(row[1])),
        names("flat", lambda row: _flat(row[1])),
        Column("seconds", lambda row: round(max(training.seconds for training in row[1].trainings))),
        names("device", lambda row: row[1].training.device),
    ])  # fmt: skip


def _largest_change(item: Approach) -> Settling | None:
    """Of its trainings, the one that moved most at the end."""
    found = [settling(training.curves.get("clean_accuracy", ())) for training in item.trainings]
    return max((one for one in found if one is not None), key=lambda one: abs(one.change), default=None)


def _change(item: Approach) -> str | None:
    largest = _largest_change(item)
    return None if largest is None else f"{100 * largest.change:+.2f}"


def _flat(item: Approach) -> str | None:
    largest = _largest_change(item)
    return None if largest is None else "yes" if largest.flat else "no"

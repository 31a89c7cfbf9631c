"""The sections at the end: what is wrong, and what was run."""

from __future__ import annotations

from collections.abc import Sequence

from robench.reporting import tables
from robench.reporting.evaluation import Evaluation
from robench.reporting.page import Exhibit, Section, TableExhibit
from robench.reporting.sections.words import counted
from robench.reporting.tables.smoothed import SmoothedRun


def closing(evaluations: Sequence[Evaluation], smoothed: Sequence[SmoothedRun]) -> tuple[Section, ...]:
    """Both of them."""
    checks: list[Exhibit] = []
    contradictions, flags = tables.contradictions(evaluations), tables.flags(evaluations)
    if contradictions.cells:
        caption = "Contradictions: adversarials below the certified radius of the same image on the same weights."
        checks.append(TableExhibit("contradictions", caption, contradictions))
    if flags.cells:
        caption = "Flags: diagnostics that say that an evaluation may be wrong."
        checks.append(TableExhibit("flags", caption, flags))
    summary = (("contradictions", str(len(contradictions.cells))), ("flags raised", str(len(flags.cells))))
    found = f"{counted(len(contradictions.cells), 'contradiction')}, {counted(len(flags.cells), 'flag')}"
    whole = tables.runs(evaluations, smoothed)
    return (
        Section("Checks", "checks", summary, tuple(checks), finding=found),
        Section(
            "What was run",
            "runs",
            (),
            (
                TableExhibit("runs", "Runs and what they cost.", whole),
                TableExhibit(
                    "provenance", "What it takes to make each run again.", tables.provenance(evaluations, smoothed)
                ),
            ),
            finding=counted(len(whole.cells), "run"),
        ),
    )

"""The section of smoothed classifiers."""

from __future__ import annotations

from collections.abc import Sequence

from robench.reporting import figures, tables
from robench.reporting.page import Exhibit, FigureExhibit, Section, TableExhibit
from robench.reporting.sections.words import counted
from robench.reporting.tables import cells, shown
from robench.reporting.tables.smoothed import SmoothedRun, asked, sampling
from robench.statistics import curves
from robench.statistics.smoothed import smoothed_flags

MEANING = (
    "A smoothed classifier gives the class that the base model gives most often under Gaussian noise. It is another "
    "function than the model, and each radius holds with the stated probability over the draws. No number here speaks "
    "of the model itself, and no attack on the model is held against it."
)


def smoothed_classifiers(runs: Sequence[SmoothedRun]) -> tuple[Section, ...]:
    """One section, or none without such runs."""
    if not runs:
        return ()
    exhibits: list[Exhibit] = []
    drawn = [run for run in runs if run.n]
    if drawn:
        exhibits.append(
            FigureExhibit(
                "smoothed-accuracy",
                "Certified accuracy against ε of smoothed classifiers, each certificate with the probability of the "
                "legend. Bands: 95 % Clopper-Pearson intervals for the sampling of the images.",
                f"Certified accuracy of {counted(len(drawn), 'smoothed classifier')} falls as ε grows. "
                f"{_in_words(drawn[0])}",
                figures.smoothed(drawn),
            )
        )
    exhibits.append(
        TableExhibit(
            "smoothed",
            "Smoothed classifiers: noise, probability of each certificate, accuracy, certified accuracy at each ε.",
            tables.smoothed(runs),
            f"{MEANING} All images together: 1 − n α (Bonferroni).",
        )
    )
    flags = tuple(
        (f"flag {flag.name} of {run.name}", flag.message) for run in runs for flag in smoothed_flags(run.records)
    )
    finding = f"{counted(len(runs), 'run')} of classifiers that are other functions than the models above"
    return (Section("Smoothed classifiers", "smoothed", flags, tuple(exhibits), finding=finding),)


def _in_words(run: SmoothedRun) -> str:
    curve, noise = curves.smoothed(run.records), sampling(run)
    points = [f"at ε = {text} {shown(cells.certified(curve, text), unit=' %')}" for text in asked(run)]
    return f"{run.model_name} smoothed with σ = {noise.sigma:g}: {'; '.join(points)}."

"""The page as a whole: its parts in order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from robench.reporting.evaluation import Evaluation
from robench.reporting.page import Page, strips_of
from robench.reporting.sections.answer import answer
from robench.reporting.sections.closing import closing
from robench.reporting.sections.comparison import comparison
from robench.reporting.sections.model import models
from robench.reporting.sections.notices import notices
from robench.reporting.sections.smoothed import smoothed_classifiers
from robench.reporting.sections.words import counted
from robench.reporting.tables.smoothed import SmoothedRun
from robench.reporting.tables.standings import ranking, target_of
from robench.runs.run import AnyRun


def compose(
    evaluations: Sequence[Evaluation], smoothed: Sequence[SmoothedRun], title: str, target: str | None = None
) -> Page:
    """The report.

    Args:
        evaluations: of models, sorted by data set.
        smoothed: runs of smoothed classifiers, which are joined to none of them.
        title: of the page.
        target: the ε at which models are ranked, as written; None for the usual one of each data set.
    """
    groups = [(data, list(members)) for data, members in groupby(evaluations, key=lambda item: item.data_name)]
    anchors = {item.name: f"model-{place:02d}-{_slug(item.name)}" for place, item in enumerate(evaluations, start=1)}
    keys = _keys([item.name for item in evaluations])
    broken = sum(len(item.contradictions) for item in evaluations)
    rankings = [ranking(data, group, target_of(group, target)) for data, group in groups]
    cards = models(rankings, anchors, keys)
    strips = strips_of(cards)
    compared = [
        section
        for place, (found, (_, group)) in enumerate(zip(rankings, groups, strict=True), start=1)
        for section in comparison(found, group, keys, place, strips, several=len(groups) > 1)
    ]
    return Page(
        title=title,
        lead=_lead([*(run for item in evaluations for run in item.runs), *smoothed]),
        verdict=_verdict(evaluations, broken),
        sound=not broken,
        notices=notices(evaluations),
        answers=tuple(answer(found, anchors, keys, place) for place, found in enumerate(rankings, start=1)),
        sections=(
            *compared,
            *cards,
            *smoothed_classifiers(smoothed),
            *closing(evaluations, smoothed),
        ),
        keys=keys,
    )


def _slug(text: str) -> str:
    """Letters, digits and hyphens that can stand in a file name or an anchor."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "model"


def _keys(names: Sequence[str]) -> dict[str, str]:
    """A short key for each name, each once."""
    keys: dict[str, str] = {}
    for name in names:
        slug, number = _slug(name), 2
        key = slug
        while key in keys.values():
            key, number = f"{slug}-{number}", number + 1
        keys[name] = key
    return keys


def _lead(runs: Sequence[AnyRun | SmoothedRun]) -> str:
    count = len({run.model_key for run in runs})
    return f"{counted(count, 'model')} on {', '.join(dict.fromkeys(run.data_name for run in runs))}"


def _verdict(evaluations: Sequence[Evaluation], broken: int) -> str:
    if broken:
        return f"{broken} contradictions: an adversarial lies nearer than a certified radius. Trust no number below."
    checked = [item.attack.n for item in evaluations if item.attack and item.certified_on_attacked()]
    if not any(checked):
        return "Nothing to cross-check: no image was both certified and attacked."
    images = f"{checked[0]} images" if len(checked) == 1 else f"{sum(checked)} images over {len(checked)} attack runs"
    return f"0 contradictions: no adversarial lies nearer than the certified radius. Checked: {images}."

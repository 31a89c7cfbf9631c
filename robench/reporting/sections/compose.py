"""The page as a whole: its parts in order, and every model at a glance."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from robench.reporting.evaluation import Evaluation
from robench.reporting.page import Bracket, Overview, Page
from robench.reporting.sections.closing import closing
from robench.reporting.sections.comparison import comparison
from robench.reporting.sections.model import model
from robench.reporting.sections.notices import notices
from robench.reporting.sections.smoothed import smoothed_classifiers
from robench.reporting.tables import cells
from robench.reporting.tables.smoothed import SmoothedRun
from robench.runs.run import AnyRun


def compose(evaluations: Sequence[Evaluation], smoothed: Sequence[SmoothedRun], title: str) -> Page:
    """The report.

    Args:
        evaluations: of models, sorted by data set.
        smoothed: runs of smoothed classifiers, which are joined to none of them.
        title: of the page.
    """
    groups = [(data, list(members)) for data, members in groupby(evaluations, key=lambda item: item.data_name)]
    anchors = {item.name: f"model-{place:02d}-{_slug(item.name)}" for place, item in enumerate(evaluations, start=1)}
    broken = sum(len(item.contradictions()) for item in evaluations)
    return Page(
        title=title,
        lead=_lead([*(run for item in evaluations for run in item.runs), *smoothed]),
        verdict=_verdict(evaluations, broken),
        sound=not broken,
        notices=notices(evaluations),
        overviews=tuple((data, tuple(_overview(item, anchors[item.name]) for item in group)) for data, group in groups),
        comparisons=tuple(comparison(data, group, place) for place, (data, group) in enumerate(groups, start=1)),
        models=tuple(model(item, anchors[item.name]) for item in evaluations),
        closing=(*smoothed_classifiers(smoothed), *closing(evaluations, smoothed)),
    )


def _slug(text: str) -> str:
    """Letters, digits and hyphens that can stand in a file name or an anchor."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "model"


def _lead(runs: Sequence[AnyRun | SmoothedRun]) -> str:
    count = len({run.model_key for run in runs})
    models = "1 model" if count == 1 else f"{count} models"
    return f"{models} on {', '.join(dict.fromkeys(run.data_name for run in runs))}"


def _verdict(evaluations: Sequence[Evaluation], broken: int) -> str:
    if broken:
        return f"{broken} contradictions: an adversarial lies nearer than a certified radius. Trust no number below."
    checked = [item.attack.n for item in evaluations if item.attack and item.certified_on_attacked()]
    if not any(checked):
        return "Nothing to cross-check: no image was both certified and attacked."
    images = f"{checked[0]} images" if len(checked) == 1 else f"{sum(checked)} images over {len(checked)} attack runs"
    return f"0 contradictions: no adversarial lies nearer than the certified radius. Checked: {images}."


def _overview(item: Evaluation, anchor: str) -> Overview:
    curve = item.certified_on_attacked()
    brackets = [Bracket(text, cells.certified(curve, text), cells.combined(item, text)) for text in item.eps]
    run = item.attack if item.attack and item.attack.n else item.largest
    return Overview(item.name, anchor, cells.clean(run), cells.base(run), tuple(brackets))

"""From evaluations to the page: which tables and figures there are, what they are called, and what to say of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from robench import display
from robench.display import with_sign
from robench.records.record import COMBINED
from robench.reporting import pictures, plots, tables
from robench.reporting.evaluations import Evaluation
from robench.reporting.page import Bracket, Exhibit, FigureExhibit, Overview, Page, Section, TableExhibit
from robench.statistics.predictions import FLAGS
from robench.statistics.sparing import SHARE


def compose(evaluations: Sequence[Evaluation], title: str) -> Page:
    """The report over some evaluations, which come sorted by data set."""
    groups = [(data, list(members)) for data, members in groupby(evaluations, key=lambda item: item.data_name)]
    anchors = {item.name: f"model-{place:02d}-{slug(item.name)}" for place, item in enumerate(evaluations, start=1)}
    broken = sum(len(item.contradictions()) for item in evaluations)
    return Page(
        title=title,
        lead=_lead(evaluations, [data for data, _ in groups]),
        verdict=_verdict(evaluations, broken),
        sound=not broken,
        notices=_notices(evaluations),
        overviews=tuple((data, tuple(_overview(item, anchors[item.name]) for item in group)) for data, group in groups),
        comparisons=tuple(_comparison(data, group, place) for place, (data, group) in enumerate(groups, start=1)),
        models=tuple(_model(item, anchors[item.name]) for item in evaluations),
        closing=_closing(evaluations),
    )


def slug(text: str) -> str:
    """Letters, digits and hyphens that can stand in a file name or an anchor."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "model"


def _lead(evaluations: Sequence[Evaluation], data: Sequence[str]) -> str:
    count = len({item.model_key for item in evaluations})
    models = "1 model" if count == 1 else f"{count} models"
    return f"{models} on {', '.join(dict.fromkeys(data))}"


def _verdict(evaluations: Sequence[Evaluation], broken: int) -> str:
    if broken:
        return f"{broken} contradictions: an adversarial lies nearer than a certified radius. Trust no number below."
    checked = [item.attack.n for item in evaluations if item.attack and item.certified_on_attacked("pairwise")]
    if not any(checked):
        return "Nothing to cross-check: no image was both certified and attacked."
    images = f"{checked[0]} images" if len(checked) == 1 else f"{sum(checked)} images over {len(checked)} attack runs"
    return f"0 contradictions: no adversarial lies nearer than the certified radius. Checked: {images}."


def _notices(evaluations: Sequence[Evaluation]) -> tuple[str, ...]:
    """What a reader must know before reading the numbers; models of which the same is to be said share a line."""
    names: dict[str, list[str]] = {}
    for item in evaluations:
        for remark in _remarks(item):
            names.setdefault(remark, []).append(item.name)
    return tuple(f"{', '.join(models)}: {remark}" for remark, models in names.items())


def _remarks(item: Evaluation) -> list[str]:
    remarks = [
        f"run {run.name} is partial (status: {run.status}); the {run.n} images that it finished are here."
        for run in item.runs
        if run.status != "success"
    ]
    if item.facts("data").get("canonical") is False:
        remarks.append(f"the files of {item.data_name} are not the published ones, byte for byte.")
    remarks += [f"{flag.message}." for flag in item.flags() if flag.name in FLAGS]
    if item.refusal is not None:
        remarks.append(f"no certificate, since the Lipschitz constant has no bound: {item.refusal}.")
    elif item.certified("pairwise") is None:
        remarks.append("not certified; nothing is known from below.")
    if item.attack is None:
        remarks.append("not attacked; nothing is known from above but the clean accuracy.")
    if item.certify and item.attack and item.certify.n != item.attack.n:
        remarks.append(
            f"{item.certify.n} images were certified and {item.attack.n} attacked. Wherever certificates stand beside "
            "attacks, all is on the latter; clean accuracy, base rate and mean radius in the table of models and at "
            "the head of each model are on the former."
        )
    if item.attack and not item.full:
        remarks.append(
            "the attack run was a cascade, in which an attack sees only what the attacks before it left open. Single "
            "attacks then have no accuracy, and the tables say what each broke of what it was given; the combined "
            "accuracy is the same as if every attack had seen every image, but for pairs that a rule spared."
        )
    if item.n_spared:
        remarks.append(
            f"pairs of image and ε that stand and were spared at least one attack: {item.n_spared}. An attack would "
            f"have had to gain more than {100 * SHARE:g} % of what is between the adversarial at hand and the "
            "certified radius. With --full nothing is spared."
        )
    return remarks


def _overview(item: Evaluation, anchor: str) -> Overview:
    attacked = tables.attacked_cell(item, COMBINED, None)
    clean = tables.clean_cell(item) if attacked == display.ABSENT else attacked
    curve = item.certified_on_attacked("pairwise")
    brackets = []
    for text in item.eps:
        low, high = tables.certified_cell(curve, text), tables.attacked_cell(item, COMBINED, text)
        ends = [None if cell == display.ABSENT else cell for cell in (low, high)]
        brackets.append(Bracket(text, *ends))
    base = tables.base_cell(item) if attacked == display.ABSENT else tables.attacked_base_cell(item)
    return Overview(item.name, anchor, clean, base, tuple(brackets))


def _comparison(data: str, group: Sequence[Evaluation], place: int) -> Section:
    prefix = f"comparison-{place:02d}"
    shown = [item for item in group if any(run.n for run in item.runs)]
    exhibits: list[Exhibit] = []
    if shown:
        exhibits.append(
            FigureExhibit(
                f"{prefix}-accuracy",
                "Accuracy against ε of all models: under all attacks combined (solid, an upper bound; the attacks were "
                "asked at the markers, and between them the bound is looser) and certified by the pairwise rule "
                "(dashed, a lower bound). Bands: 95 % Clopper-Pearson intervals for the sampling of the images.",
                _alt_comparison(shown),
                plots.comparison(shown),
            )
        )
    exhibits += [
        TableExhibit(
            f"{prefix}-bounds",
            "Bounds of the accuracy (%) at each ε: certified from below, attacked by all attacks combined from above.",
            tables.bounds(group),
            "Certified rates are rounded down, attacked rates up.",
        ),
        TableExhibit(
            f"{prefix}-models",
            "Clean accuracy beside the base rate (share of the most frequent class), mean certified radius "
            "(misclassified: 0), and bounds of the Lipschitz constant.",
            tables.models(group),
            "Radii and Lipschitz lower bounds are rounded down, clean accuracy and Lipschitz upper bounds up.",
        ),
    ]
    if any(item.certify and item.attack and item.certify.n != item.attack.n for item in group):
        exhibits.append(
            TableExhibit(
                f"{prefix}-certified",
                "Certified accuracy (%) at each ε on all certified images, attacked or not.",
                tables.certified_alone(group),
            )
        )
    alone = [item for item in shown if item.full and item.robust() is not None]
    if alone:
        exhibits.append(
            FigureExhibit(
                f"{prefix}-single-attacks",
                "Accuracy against ε under each attack by itself, of all models whose attacks saw every image that is "
                f"not certified ({', '.join(f'{item.name}: {_attacked(item)} images' for item in alone)}).",
                _alt_single(alone),
                plots.single_attacks(shown),
            )
        )
    if any(item.robust() for item in group):
        cascade = any(item.attack and not item.full for item in group)
        exhibits.append(
            TableExhibit(
                f"{prefix}-attacks",
                "Accuracy (%) under each attack, under all of them combined, and certified on the same images.",
                tables.attack_accuracy(group),
                tables.CASCADE_NOTE if cascade else "",
            )
        )
    return Section(f"Comparison on {data}", prefix, (), tuple(exhibits))


def _model(item: Evaluation, anchor: str) -> Section:
    exhibits: list[Exhibit] = []
    if any(run.n for run in item.runs):
        exhibits += [_accuracy_figure(item, anchor), _accuracy_table(item, anchor)]
        caption = "The images of each class by themselves, and how many of all images are predicted to be of it."
        exhibits.append(TableExhibit(f"{anchor}-classes", caption, tables.by_class(item)))
    if item.robust() is not None:
        exhibits += _attack_exhibits(item, anchor)
    layers = tables.audit(item)
    if len(layers):
        caption = "Upper bound of the Lipschitz constant of each layer, in float64, rounded up."
        exhibits.append(TableExhibit(f"{anchor}-audit", caption, layers))
    return Section(item.name, anchor, _facts(item), tuple(exhibits))


def _accuracy_figure(item: Evaluation, anchor: str) -> FigureExhibit:
    caption = "Accuracy against ε: the accuracy under any attack lies between the certified curve and the combined one."
    if item.attack and not item.full:
        caption += " Single attacks have no curve of their own after a cascade."
    return FigureExhibit(
        f"{anchor}-accuracy",
        f"{caption} Bands: 95 % Clopper-Pearson intervals.",
        _alt_comparison([item]),
        plots.accuracy(item),
    )


def _accuracy_table(item: Evaluation, anchor: str) -> TableExhibit:
    images = f"the {item.attack.n} attacked images" if item.attack and item.attack.n else f"{item.runs[0].n} images"
    return TableExhibit(
        f"{anchor}-accuracy",
        f"Accuracy at each ε on {images}, with 95 % Clopper-Pearson intervals.",
        tables.accuracy(item),
        tables.CASCADE_NOTE if item.attack and not item.full else "",
    )


def _attack_exhibits(item: Evaluation, anchor: str) -> list[Exhibit]:
    exhibits: list[Exhibit] = [
        TableExhibit(
            f"{anchor}-outcomes",
            "What each attack did: images on which it found an adversarial, found nothing, or had no question left; "
            "L2 distances are verified and rounded up.",
            tables.attack_outcomes(item),
        ),
        TableExhibit(
            f"{anchor}-budget",
            f"What each attack is good for and what it cost: of the images it was given, how many it broke within "
            f"ε = {item.attacked_eps[-1]}; how many no other attack broke, at some ε and at each; how often its "
            "adversarial was the nearest; passes of one image, refinement and verification included.",
            tables.budget(item),
            tables.OPTIMALITY_NOTE if item.full else tables.CASCADE_NOTE,
        ),
    ]
    figure = _budget_figure(item, anchor)
    if figure is not None:
        exhibits.append(figure)
    if item.certified_on_attacked("pairwise") is not None:
        exhibits.append(
            FigureExhibit(
                f"{anchor}-radius-distance",
                "Nearest adversarial against certified radius of each correctly classified image. The nearer to the "
                "diagonal, the tighter both are; below it would be a contradiction. Ticks on the upper edge: images of "
                "which no adversarial is known, most of them not attacked if certified at every ε.",
                f"Scatter of certified radius and attack distance of {item.name}: {len(item.contradictions())} points "
                "below the diagonal.",
                plots.radius_distance(item),
            )
        )
    shown = pictures.exhibit(item)
    if shown is not None:
        exhibits.append(FigureExhibit(f"{anchor}-gallery", *shown))
    return exhibits


def _budget_figure(item: Evaluation, anchor: str) -> FigureExhibit | None:
    """Accuracy against passes; None where the run did not note the passes of each attack."""
    if any(budget.forward is None or budget.backward is None for budget in item.budgets.values()):
        return None
    return FigureExhibit(
        f"{anchor}-passes",
        "Accuracy at some ε, and what it took to bring it there: each marker is the combined accuracy after one more "
        "attack, against the forward and backward passes so far. A long flat piece is an attack that was dear and "
        "broke little. The first point is the clean prediction.",
        f"Combined accuracy of {item.name} after each of the attacks {', '.join(item.attacks)}.",
        plots.accuracy_by_passes(item),
    )


def _facts(item: Evaluation) -> tuple[tuple[str, str], ...]:
    """What identifies a model and its data; what is not known is left out."""
    model, data, audit = item.facts("model"), item.facts("data"), item.facts("audit")
    parameters = model.get("n_params")
    upper, lower = audit.get("lipschitz_upper"), audit.get("lipschitz_lower")
    found = [
        ("recipe", model.get("recipe")),
        ("data", item.data_name),
        ("subset", _subset(data.get("subset"))),
        ("input", "×".join(map(str, model.get("input_shape", ())))),
        ("classes", model.get("classes")),
        ("parameters", f"{parameters:,}".replace(",", " ") if isinstance(parameters, int) else None),
        ("Lipschitz constant", None if upper is None else f"at most {display.upper(upper)}"),
        ("largest slope found", None if lower is None else display.lower(lower)),
        ("clean accuracy", with_sign(tables.clean_cell(item))),
        ("base rate", with_sign(tables.base_cell(item))),
        ("certified images", item.certify.n if item.certify else None),
        ("attacked images", item.attack.n if item.attack else None),
        ("weights SHA-256", item.weights_sha256[:16]),
    ]
    return tuple((name, str(value)) for name, value in found if value not in (None, ""))


def _subset(subset: Any) -> str:
    """Which rows of the split were used, in words."""
    if not isinstance(subset, Mapping):
        return ""
    source = f"of {subset.get('of')}"
    return f"first {source}" if subset.get("kind") == "first" else f"draw {source}, seed {subset.get('seed')}"


def _closing(evaluations: Sequence[Evaluation]) -> tuple[Section, ...]:
    checks: list[Exhibit] = []
    contradictions, flags = tables.contradictions(evaluations), tables.flags(evaluations)
    if len(contradictions):
        caption = "Contradictions: adversarials below the certified radius of the same image on the same weights."
        checks.append(TableExhibit("contradictions", caption, contradictions))
    if len(flags):
        caption = "Flags: diagnostics that say that an evaluation may be wrong."
        checks.append(TableExhibit("flags", caption, flags))
    summary = (("contradictions", str(len(contradictions))), ("flags raised", str(len(flags))))
    return (
        Section("Checks", "checks", summary, tuple(checks)),
        Section(
            "What was run",
            "runs",
            (),
            (
                TableExhibit("runs", "Runs and what they cost.", tables.runs(evaluations)),
                TableExhibit("provenance", "What it takes to make each run again.", tables.provenance(evaluations)),
            ),
        ),
    )


def _attacked(item: Evaluation) -> int:
    return item.attack.n if item.attack else 0


def _alt_single(evaluations: Sequence[Evaluation]) -> str:
    """The curves of the single attacks in words: at the largest ε asked."""
    lines = []
    for item in evaluations:
        text = item.attacked_eps[-1]
        cells = [f"{name} {with_sign(tables.attacked_cell(item, name, text))}" for name in item.attacks]
        lines.append(f"{item.name} at ε = {text}: {', '.join(cells)}.")
    return " ".join(["One panel an attack.", *lines])


def _alt_comparison(evaluations: Sequence[Evaluation]) -> str:
    """The curves in words: both ends at every ε asked."""
    lines = []
    for item in evaluations:
        curve = item.certified_on_attacked("pairwise")
        points = [
            f"at ε = {text} certified {with_sign(tables.certified_cell(curve, text))}, "
            f"attacked {with_sign(tables.attacked_cell(item, COMBINED, text))}"
            for text in item.eps
        ]
        lines.append(f"{item.name}: {'; '.join(points)}.")
    return " ".join(["Accuracy falls as ε grows.", *lines])

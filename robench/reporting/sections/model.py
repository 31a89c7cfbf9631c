"""The models one by one: all that is known of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robench import numerics
from robench.reporting import charts, figures, tables
from robench.reporting.evaluation import Evaluation
from robench.reporting.page import Exhibit, FigureExhibit, Section, TableExhibit
from robench.reporting.sections import words
from robench.reporting.sections.gallery import gallery_figure
from robench.reporting.sections.words import counted, duration
from robench.reporting.tables import cells, shown
from robench.reporting.tables.standings import Ranking, Standing
from robench.runs.facts import SubsetFacts


def models(rankings: Sequence[Ranking], anchors: Mapping[str, str], keys: Mapping[str, str]) -> tuple[Section, ...]:
    """One section with a part for each model, in the order of their ranks.

    Args:
        rankings: one a data set.
        anchors: of the part of each model, by name.
        keys: of each model, by name.
    """
    parts = tuple(
        _model(standing, anchors[standing.item.name], keys[standing.item.name])
        for ranking in rankings
        for standing in ranking.standings
    )
    if not parts:
        return ()
    finding = f"{counted(len(parts), 'card')}, one a model, with all its runs"
    return (Section("Models", "models", (), (), finding=finding, parts=parts),)


def _model(standing: Standing, anchor: str, key: str) -> Section:
    """Facts, curves and tables of one model."""
    item = standing.item
    exhibits: list[Exhibit] = []
    if any(run.n for run in item.runs):
        exhibits += [_accuracy_figure(item, anchor), _accuracy_table(item, anchor)]
        caption = "The images of each class by themselves, and how many of all images are predicted to be of it."
        exhibits.append(TableExhibit(f"{anchor}-classes", caption, tables.by_class(item)))
    if item.robust() is not None:
        exhibits += _attack_exhibits(item, anchor)
    layers = tables.audit(item)
    if layers.cells:
        caption = "Upper bound of the Lipschitz constant of each layer, in float64, rounded up."
        exhibits.append(TableExhibit(f"{anchor}-audit", caption, layers))
    if item.others:
        caption = "All runs of this model on these data. The first line counts everywhere else on the page."
        exhibits.append(TableExhibit(f"{anchor}-runs", caption, tables.further_runs(item, standing.eps)))
    finding = (
        f"certified {shown(standing.low, unit=' %')}, attacked {shown(standing.attacked, unit=' %')} at "
        f"ε = {standing.eps}"
    )
    return Section(item.name, anchor, _facts(item), tuple(exhibits), finding=finding, key=key)


def _accuracy_figure(item: Evaluation, anchor: str) -> FigureExhibit:
    caption = "Accuracy against ε: the accuracy under any attack lies between the certified curve and the combined one."
    if item.attack and not item.full:
        caption += " Single attacks have no curve of their own in an ensemble."
    return FigureExhibit(
        f"{anchor}-accuracy",
        f"{caption} Bands: 95 % Clopper-Pearson intervals.",
        words.accuracy([item]),
        figures.accuracy(item),
    )


def _accuracy_table(item: Evaluation, anchor: str) -> TableExhibit:
    images = f"the {item.attack.n} attacked images" if item.attack and item.attack.n else f"{item.runs[0].n} images"
    return TableExhibit(
        f"{anchor}-accuracy",
        f"Accuracy at each ε on {images}, with 95 % Clopper-Pearson intervals.",
        tables.accuracy(item),
        words.ENSEMBLE_NOTE if item.attack and not item.full else "",
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
            words.OPTIMALITY_NOTE if item.full else words.ENSEMBLE_NOTE,
        ),
    ]
    figure = _budget_figure(item, anchor)
    if figure is not None:
        exhibits.append(figure)
    if item.certified_on_attacked() is not None:
        exhibits.append(
            FigureExhibit(
                f"{anchor}-radius-distance",
                "Nearest adversarial against certified radius of each correctly classified image. The nearer to the "
                "diagonal, the tighter both are; below it would be a contradiction. Ticks on the upper edge: images of "
                "which no adversarial is known, most of them not attacked if certified at every ε.",
                f"Scatter of certified radius and attack distance of {item.name}: {len(item.contradictions)} points "
                "below the diagonal.",
                figures.radius_distance(item),
            )
        )
    gallery = gallery_figure(item, f"{anchor}-gallery")
    if gallery is not None:
        exhibits.append(gallery)
    return exhibits


def _budget_figure(item: Evaluation, anchor: str) -> FigureExhibit | None:
    """Accuracy against passes; None where the run did not note the passes of each attack."""
    if not charts.notes_passes(item):
        return None
    return FigureExhibit(
        f"{anchor}-passes",
        "Accuracy at some ε, and what it took to bring it there: each marker is the combined accuracy after one more "
        "attack, against the forward and backward passes so far. A long flat piece is an attack that was expensive and "
        "broke little. The first point is the clean prediction.",
        f"Combined accuracy of {item.name} after each of the attacks {', '.join(item.attacks)}.",
        figures.accuracy_by_passes(item),
    )


def _facts(item: Evaluation) -> tuple[tuple[str, str], ...]:
    """What identifies a model and its data; what is not known is left out."""
    model, upper, lower = item.model, item.bound.lipschitz_upper, item.bound.lipschitz_lower
    found = [
        ("recipe", model.recipe),
        ("data", item.data_name),
        ("subset", _subset(item.data.subset)),
        ("input", "×".join(map(str, model.input_shape))),
        ("classes", model.classes),
        ("parameters", None if model.n_params is None else f"{model.n_params:,}".replace(",", " ")),
        ("Lipschitz constant", None if upper is None else f"at most {numerics.upper(upper)}"),
        ("largest slope found", None if lower is None else numerics.lower(lower)),
        ("certificates", words.certificates(item)),
        ("clean accuracy", shown(cells.clean(item.largest), unit=" %")),
        ("base rate", shown(cells.base(item.largest), unit=" %")),
        ("certified images", item.certify.n if item.certify else None),
        ("attacked images", item.attack.n if item.attack else None),
        ("training", None if item.training_seconds is None else duration(item.training_seconds)),
        ("weights SHA-256", item.weights_sha256[:16]),
    ]
    return tuple((name, str(value)) for name, value in found if value not in (None, ""))


def _subset(subset: SubsetFacts | None) -> str:
    """Which rows of the split were used, in words."""
    if subset is None:
        return ""
    return f"first of {subset.of}" if subset.kind == "first" else f"draw of {subset.of}, seed {subset.seed}"

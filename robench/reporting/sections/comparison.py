"""The sections that set the models on one data set against each other, each below what it finds."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from robench.numerics import floor_decimals
from robench.reporting import charts, figures, tables
from robench.reporting.evaluation import Evaluation
from robench.reporting.page import Exhibit, FigureExhibit, Section, TableExhibit
from robench.reporting.sections import words
from robench.reporting.sections.words import counted, isolated, listed
from robench.reporting.strips import Strip
from robench.reporting.tables.standings import Ranking
from robench.specs.epsilon import ascending, epsilon_value


def comparison(
    ranking: Ranking,
    group: Sequence[Evaluation],
    keys: charts.Keys,
    place: int,
    strips: Mapping[str, Strip],
    *,
    several: bool,
) -> tuple[Section, ...]:
    """Curves, single attacks, radii against distances, and the models' own numbers.

    Args:
        ranking: of the models.
        group: the models.
        keys: of the models, by name.
        place: number of the data set.
        strips: images of models, by key.
        several: whether the page is about several data sets, so that each heading says which.
    """
    prefix = f"comparison-{place:02d}"
    shown = [item.item for item in ranking.standings if any(run.n for run in item.item.runs)]
    suffix = f" on {ranking.data}" if several else ""
    found = [
        _curves(ranking, group, shown, keys, prefix, suffix, first=place == 1),
        _attacks(ranking, shown, keys, prefix, suffix),
        _scatter(shown, keys, prefix, suffix),
        _one_image(shown, {keys[item.name]: strips.get(keys[item.name]) for item in shown}, prefix, suffix),
    ]
    return tuple(section for section in found if section is not None)


def _curves(
    ranking: Ranking,
    group: Sequence[Evaluation],
    shown: Sequence[Evaluation],
    keys: charts.Keys,
    prefix: str,
    suffix: str,
    *,
    first: bool,
) -> Section:
    exhibits: list[Exhibit] = []
    if shown:
        exhibits.append(
            FigureExhibit(
                f"{prefix}-accuracy",
                "Accuracy against ε of all models: under all attacks combined (solid, an upper bound; the attacks were "
                "asked at the markers, and between them the bound is looser) and certified by the tightest rule "
                "(dashed, a lower bound). Bands: 95 % Clopper-Pearson intervals for the sampling of the images.",
                words.accuracy(shown),
                figures.comparison(shown),
                charts.accuracy(shown, keys, ranking.eps),
            )
        )
    numbers: list[Exhibit] = [
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
        numbers.append(
            TableExhibit(
                f"{prefix}-certified",
                "Certified accuracy (%) at each ε on all certified images, attacked or not.",
                tables.certified_alone(group),
            )
        )
    part = _numbers(f"{prefix}-numbers", numbers)
    return Section(f"Curves{suffix}", prefix, (), tuple(exhibits), finding=_leaders(ranking), parts=(part,), open=first)


def _numbers(anchor: str, exhibits: Sequence[Exhibit]) -> Section:
    """Tables behind figures, folded by themselves."""
    return Section("The same in numbers", anchor, (), tuple(exhibits), finding=counted(len(exhibits), "table"))


def _attacks(
    ranking: Ranking, shown: Sequence[Evaluation], keys: charts.Keys, prefix: str, suffix: str
) -> Section | None:
    attacked = [item for item in shown if item.robust() is not None]
    if not attacked:
        return None
    exhibits: list[Exhibit] = []
    alone = [item for item in attacked if item.full]
    if alone:
        exhibits.append(
            FigureExhibit(
                f"{prefix}-single-attacks",
                "Accuracy against ε under each attack by itself, of all models whose attacks saw every image that is "
                f"not certified ({', '.join(f'{item.name}: {_attacked(item)} images' for item in alone)}).",
                words.single_attacks(alone),
                figures.single_attacks(shown),
                charts.single_attacks(shown, keys),
            )
        )
    noted = [item for item in attacked if charts.notes_passes(item)]
    if noted:
        exhibits.append(
            FigureExhibit(
                f"{prefix}-passes",
                f"Accuracy at ε = {ranking.eps}, and what it took to bring it there: each marker is the combined "
                "accuracy after one more attack. A long flat piece is an attack that was expensive and broke little.",
                f"Combined accuracy at ε = {ranking.eps} after each attack, against passes.",
                None,
                charts.passes(noted, keys, ranking.eps),
            )
        )
    ensemble = any(not item.full for item in attacked)
    table = TableExhibit(
        f"{prefix}-attacks",
        "Accuracy (%) under each attack, under all of them combined, and certified on the same images.",
        tables.attack_accuracy(shown),
        words.ENSEMBLE_NOTE if ensemble else "",
    )
    part = _numbers(f"{prefix}-attack-numbers", [table])
    finding = _nearest(attacked)
    return Section(f"Attacks{suffix}", f"{prefix}-by-attack", (), tuple(exhibits), finding=finding, parts=(part,))


def _scatter(shown: Sequence[Evaluation], keys: charts.Keys, prefix: str, suffix: str) -> Section | None:
    drawn = [item for item in shown if item.attack is not None and item.certified_on_attacked() is not None]
    ratios = [
        record.distance / record.certified_radius
        for item in drawn
        for record in (item.attack.records if item.attack else ())
        if record.correct and record.distance is not None and record.certified_radius > 0
    ]
    if not ratios:
        return None
    below = sum(len(item.contradictions) for item in drawn)
    figure = FigureExhibit(
        f"{prefix}-radius-distance",
        "Nearest adversarial against certified radius, one point an image: the "
        f"{charts.NEAREST} images of each model that are nearest to the diagonal, and an even choice of up to "
        f"{charts.SPREAD} others. Below the diagonal lie contradictions.",
        f"Certified radius and attack distance of {counted(len(drawn), 'model')}: {below} points below the diagonal.",
        None,
        charts.radius_distance(drawn, keys),
    )
    median = floor_decimals(statistics.median(ratios), 2)
    finding = f"the median attack ends at {median} times the certified radius; {below} below it"
    return Section(f"Radius against distance{suffix}", f"{prefix}-scatter", (), (figure,), finding=finding)


def _one_image(
    shown: Sequence[Evaluation], known: Mapping[str, Strip | None], prefix: str, suffix: str
) -> Section | None:
    strips = {key: strip for key, strip in known.items() if strip is not None}
    if not strips:
        return None
    chart = charts.images(strips)
    figure = FigureExhibit(
        f"{prefix}-one-image",
        "One image under every model: the input with its three largest logits, what each attack makes of it by itself "
        "at the largest ε, with class and L2 distance, and what the nearest of them added (red brighter, blue darker, "
        "scaled to the largest change). Radius and nearest distance are those of the run, which may have found nearer "
        "ones.",
        f"{counted(len(chart['index']), 'image')} under {counted(len(strips), 'model')}.",
        None,
        chart,
    )
    finding = f"{counted(len(chart['index']), 'image')}, each with what every attack makes of it"
    return Section(f"Look into one image{suffix}", f"{prefix}-images", (), (figure,), finding=finding)


def _leaders(ranking: Ranking) -> str:
    """Who is ahead at how many of the radii that were asked."""
    items = [item.item for item in ranking.standings if item.rank is not None]
    eps = ascending(text for item in items for text in item.eps)
    wins: Counter[str] = Counter()
    for text in eps:
        curves = {item.name: item.certified() if ranking.proven else item.robust() for item in items}
        rates = {name: curve.rate(epsilon_value(text)) for name, curve in curves.items() if curve is not None}
        if rates:
            wins[max(rates, key=lambda name: rates[name])] += 1
    if not wins:
        return "nothing was certified or attacked"
    parts = [f"{isolated(name)} at {count} of {len(eps)} ε" for name, count in wins.most_common(3)]
    return f"ahead {'by certificate' if ranking.proven else 'under attack'}: {listed(parts)}"


def _nearest(attacked: Sequence[Evaluation]) -> str:
    """Which attack found most of the nearest adversarials."""
    found = Counter(
        record.attack for item in attacked if item.attack for record in item.attack.records if record.attack
    )
    if not found:
        return "no attack found anything"
    (name, count), whole = found.most_common(1)[0], sum(found.values())
    return f"{name} found {count} of {whole} nearest adversarials"


def _attacked(item: Evaluation) -> int:
    return item.attack.n if item.attack else 0

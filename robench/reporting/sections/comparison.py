"""The section that sets the models on one data set against each other."""

from __future__ import annotations

from collections.abc import Sequence

from robench.reporting import figures, tables
from robench.reporting.evaluation import Evaluation
from robench.reporting.page import Exhibit, FigureExhibit, Section, TableExhibit
from robench.reporting.sections import words


def comparison(data: str, group: Sequence[Evaluation], place: int) -> Section:
    """Curves and tables of all models.

    Args:
        data: name of the data set.
        group: the models.
        place: number of the section.
    """
    prefix = f"comparison-{place:02d}"
    shown = [item for item in group if any(run.n for run in item.runs)]
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
                words.single_attacks(alone),
                figures.single_attacks(shown),
            )
        )
    if any(item.robust() for item in group):
        ensemble = any(item.attack and not item.full for item in group)
        exhibits.append(
            TableExhibit(
                f"{prefix}-attacks",
                "Accuracy (%) under each attack, under all of them combined, and certified on the same images.",
                tables.attack_accuracy(group),
                words.ENSEMBLE_NOTE if ensemble else "",
            )
        )
    return Section(f"Comparison on {data}", prefix, (), tuple(exhibits))


def _attacked(item: Evaluation) -> int:
    return item.attack.n if item.attack else 0

"""All claims, held against all runs that there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from robench.errors import RunError
from robench.reporting.claims import geometry, price, robustness
from robench.reporting.claims.approaches import Field, fields
from robench.reporting.claims.claim import NO_MODELS, PAPER, Claim, Verdict
from robench.reporting.claims.kept import KeptPage, read_kept
from robench.reporting.claims.potentials import Held, read_potentials
from robench.reporting.evaluations import read_evaluations
from robench.runs.reading import MANIFEST

DEEPFOOL = frozenset({"deepfool"})
WEIGHTED = ("dense", "conv")
"""How the operations of layers with weights begin in a Lipschitz bound."""


class Evidence(NamedTuple):
    """What claims are held against.

    Fields:
        fields: of the attack run of each model that has most attacks.
        deepfool: of runs of DeepFool alone, which may have more images.
        potentials: models held against Theorem 2.
        kept: claims of earlier pages, whose runs are not read.
    """

    fields: Sequence[Field]
    deepfool: Sequence[Field]
    potentials: Sequence[Held]
    kept: Sequence[KeptPage] = ()


def read_evidence(paths: Sequence[Path]) -> Evidence:
    """All of it at or below some paths.

    Args:
        paths: folders with runs, and CSV files that `robench claims` wrote earlier.

    Raises:
        RunError: there is none, or it cannot be read.
    """
    kept = read_kept([path for path in paths if path.suffix == ".csv"])
    folders = [path for path in paths if path.suffix != ".csv"]
    potentials = read_potentials(folders)
    with_runs = [path for path in folders if not potentials or any(path.rglob(MANIFEST))]
    evaluations = read_evaluations(with_runs) if with_runs else []
    return Evidence(fields(evaluations), fields(evaluations, DEEPFOOL), potentials, kept)


def held_against(evidence: Evidence) -> list[Claim]:
    """Every claim on every set of models; a claim of which there is no trace at all has one row, `not measured`.

    Raises:
        RunError: two earlier pages, or one and the runs, speak of the same claim on the same models.
    """
    found: list[Claim] = []
    for field in evidence.fields:
        found += robustness.most_robust(field)
        found += robustness.strong_against_cw(field)
        found += robustness.better_than_gnp_log(field)
        found += robustness.attacks_alike(field)
        found += geometry.output_is_distance(field)
        found += geometry.unit_gradient(field)
        found += geometry.attack_along_gradient(field)
        found += price.clean_price(field)
        found += price.one_lip_fails(field, _depth(field))
        found += price.slower_training(field)
    for field in evidence.deepfool:
        found += robustness.most_robust(field, "deepfool")
    for claims in (geometry.gradient_along_plan, geometry.theorem_two, geometry.hinge_separates):
        found += claims(evidence.potentials)
    found += [claim for page in evidence.kept for claim in page.claims]
    _require_one_of_each(found)
    found += [_not_measured(number) for number in PAPER if all(claim.number != number for claim in found)]
    return sorted(found, key=lambda claim: claim.number)


def _not_measured(number: int) -> Claim:
    return Claim(
        number=number,
        models=NO_MODELS,
        figure="",
        interval="",
        rule="",
        verdict=Verdict.OPEN,
    )


def _require_one_of_each(claims: Sequence[Claim]) -> None:
    counts = Counter((claim.number, claim.models) for claim in claims)
    twice = next((key for key, count in counts.items() if count > 1), None)
    if twice is not None:
        raise RunError(
            f"claim {twice[0]} on `{twice[1]}` is there twice",
            hint="name the runs or one CSV that holds them, not both",
        )


def _depth(field: Field) -> int:
    """Layers with weights of its networks; 0 where no bound says so."""
    counts = [
        sum(layer.operation.startswith(WEIGHTED) for layer in item.evaluations[0].bound.layers)
        for item in field.approaches
    ]
    return max(counts, default=0)

"""All claims, held against all runs that there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from robench.reporting.claims import geometry, price, robustness
from robench.reporting.claims.approaches import Field, fields
from robench.reporting.claims.claim import PAPER, Claim, Verdict
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
    """

    fields: Sequence[Field]
    deepfool: Sequence[Field]
    potentials: Sequence[Held]


def read_evidence(paths: Sequence[Path]) -> Evidence:
    """All of it at or below some paths.

    Raises:
        RunError: there is none, or it cannot be read.
    """
    potentials = read_potentials(paths)
    with_runs = [path for path in paths if not potentials or any(path.rglob(MANIFEST))]
    evaluations = read_evaluations(with_runs) if with_runs else []
    return Evidence(fields(evaluations), fields(evaluations, DEEPFOOL), potentials)


def held_against(evidence: Evidence) -> list[Claim]:
    """Every claim on every set of models; a claim of which there is no trace at all has one row, `not measured`."""
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
    found += [_not_measured(number) for number in PAPER if all(claim.number != number for claim in found)]
    return sorted(found, key=lambda claim: claim.number)


def _not_measured(number: int) -> Claim:
    return Claim(
        number=number,
        models="no run shows it",
        figure="",
        interval="",
        rule="",
        verdict=Verdict.OPEN,
    )


def _depth(field: Field) -> int:
    """Layers with weights of its networks; 0 where no bound says so."""
    counts = [
        sum(layer.operation.startswith(WEIGHTED) for layer in item.evaluations[0].bound.layers)
        for item in field.approaches
    ]
    return max(counts, default=0)

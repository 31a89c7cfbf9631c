"""What the paper claims of f itself: how near |f| is to the distance, its gradient, where attacks and plan lead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from robench.numerics import upper
from robench.records.record import CertifyRecord
from robench.reporting.claims.approaches import HKR, Approach, Field
from robench.reporting.claims.claim import Claim, Verdict, at_least, at_most, between, points
from robench.reporting.claims.potentials import Held
from robench.reporting.evaluation import Evaluation
from robench.runs.directions import read_directions
from robench.statistics.paired import Estimate, median

NEAR, SOME = 1.10, 1.50
"""Distance over |f|: up to 1.1 they are near, up to 1.5 of one size."""
UNIT = 0.05
"""A gradient norm this near to 1 counts as 1."""
ALONG, ROUGHLY = 0.95, 0.80
"""Cosines: of 18 degrees, and of 37."""
REACHED = 0.95
"""Share of the optimum of Theorem 2."""
LEAST = 20
"""Images below which a median is not taken."""


def output_is_distance(field: Field) -> Iterator[Claim]:
    """`|f(x)| is a lower bound of the distance`, and near to it (Eq. 9, Fig. 2)."""
    for own in field.of(HKR):
        ratios = np.array([ratio for item in own.evaluations for ratio in _ratios(item)])
        found = median(ratios) if len(ratios) >= LEAST else None
        others = {item.name: _median_ratio(item) for item in field.rivals(own)}
        told = "; ".join(f"{name} {_ratio(value)}" for name, value in others.items() if value is not None)
        yield Claim(
            number=6,
            models=f"{field.name}: {own.name}",
            figure="" if found is None else f"median distance / radius {_ratio(found.value)}{_others(told)}",
            interval="" if found is None else between(found, _ratio),
            rule=f"holds: the median is at most {NEAR:.2f}; partly: at most {SOME:.2f}",
            verdict=at_most(_value(found), NEAR, SOME),
        )


def unit_gradient(field: Field) -> Iterator[Claim]:
    """`the gradient of the optimal function has norm 1 almost surely` (Prop. 1)."""
    for own in field.of(HKR):
        slopes = _column(own, "slope")
        found = median(slopes) if len(slopes) >= LEAST else None
        share = float((np.abs(slopes - 1) <= UNIT).mean()) if len(slopes) else 0.0
        off = None if found is None else abs(found.value - 1)
        others = {item.name: _column(item, "slope") for item in field.rivals(own)}
        told = "; ".join(f"{name} {np.median(value):.2f}" for name, value in others.items() if len(value))
        yield Claim(
            number=7,
            models=f"{field.name}: {own.name}",
            figure=""
            if found is None
            else f"median {found.value:.3f}; {points(share)} % of {found.n} images within 1 ± {UNIT}{_others(told)}",
            interval="" if found is None else between(found, "{:.3f}".format),
            rule=f"holds: {points(REACHED)} % of the images within 1 ± {UNIT}; partly: the median is",
            verdict=Verdict.HOLDS if found and share >= REACHED else at_most(off, -1.0, UNIT),
        )


def attack_along_gradient(field: Field) -> Iterator[Claim]:
    """`adv(x) = x - c f(x) grad f(x)`: attacks go along the gradient (§3.2)."""
    for own in field.of(HKR):
        cosines = _column(own, "cosine")
        found = median(cosines) if len(cosines) >= LEAST else None
        others = {item.name: _column(item, "cosine") for item in field.rivals(own)}
        told = "; ".join(f"{name} {np.median(value):.2f}" for name, value in others.items() if len(value))
        yield Claim(
            number=8,
            models=f"{field.name}: {own.name}",
            figure="" if found is None else f"median cosine {found.value:.3f}{_others(told)}",
            interval="" if found is None else between(found, "{:.3f}".format),
            rule=f"holds: the median cosine is at least {ALONG}; partly: at least {ROUGHLY}",
            verdict=at_least(_value(found), ALONG, ROUGHLY),
        )


def gradient_along_plan(held: Sequence[Held]) -> Iterator[Claim]:
    """`the image of x by the transport plan is in the same direction` (§3.2)."""
    for item in held:
        if item.recipe != HKR:
            continue
        angle = item.plan_cosine
        yield Claim(
            number=9,
            models=item.name,
            figure="" if angle is None else f"median cosine to the plan's image {angle.value:.3f}",
            interval="" if angle is None else between(angle, "{:.3f}".format),
            rule=f"holds: the median cosine is at least {ALONG}; partly: at least {ROUGHLY}",
            verdict=at_least(_value(angle), ALONG, ROUGHLY),
        )


def theorem_two(held: Sequence[Held]) -> Iterator[Claim]:
    """`still the dual of an optimal transportation problem` (Theorem 2): the optimum is reached, not exceeded."""
    for item in held:
        if item.recipe != HKR:
            continue
        share = item.share
        yield Claim(
            number=10,
            models=item.name,
            figure=f"{points(share or 0.0)} % of the optimum" + (", exceeded" if item.exceeded else ""),
            interval="",
            rule=f"holds: {points(REACHED)} % of the optimum of a linear program or more, never exceeded; partly: less",
            verdict=Verdict.FAILS if item.exceeded else at_least(share, REACHED, 0.0),
        )


def hinge_separates(held: Sequence[Held]) -> Iterator[Claim]:
    """`KR alone is a weak classifier, hKR separates` (Fig. 1 and 2)."""
    for item in held:
        alone = [other for other in held if other.recipe == "kr" and other.data == item.data]
        if item.recipe != HKR or not alone:
            continue
        other = alone[0]
        separate = item.overlap <= 1 - REACHED
        better = item.accuracy > other.accuracy and item.overlap < other.overlap
        yield Claim(
            number=11,
            models=f"{item.name}, {other.recipe}",
            figure=f"overlap {points(item.overlap)} % against {points(other.overlap)} %, accuracy "
            f"{points(item.accuracy)} % against {points(other.accuracy)} %",
            interval="",
            rule=f"holds: hKR has less overlap and a higher accuracy, and at most {points(1 - REACHED)} % overlap; "
            "partly: the first two alone",
            verdict=Verdict.HOLDS if better and separate else Verdict.PARTLY if better else Verdict.FAILS,
        )


def _ratios(item: Evaluation) -> list[float]:
    """Attack distance over the paper's radius of each image with both; infinite where nothing was found.

    Images that are certified at every ε asked were not attacked, and say nothing.
    """
    if item.attack is None or item.certify is None:
        return []
    known: dict[tuple[int, str], CertifyRecord] = {(r.index, r.input_sha256): r for r in item.certify.records}
    found = []
    for record in item.attack.records:
        proof = known.get((record.index, record.input_sha256))
        asked = any(record.given_to(name) for name in record.attacks)
        if proof is None or not record.correct or not asked or proof.radius_paper <= 0:
            continue
        found.append(float("inf") if record.distance is None else record.distance / proof.radius_paper)
    return found


def _median_ratio(item: Approach) -> float | None:
    ratios = [ratio for one in item.evaluations for ratio in _ratios(one)]
    return float(np.median(ratios)) if len(ratios) >= LEAST else None


def _ratio(value: float) -> str:
    """A ratio that holds from above."""
    return "∞" if value == float("inf") else upper(value, 3)


def _column(item: Approach, name: str) -> npt.NDArray[np.float64]:
    """Slopes or cosines of all its attack runs; what was not found is left out."""
    runs = [one.attack for one in item.evaluations if one.attack is not None]
    values = [getattr(row, name) for run in runs for row in read_directions(run.folder)]
    return np.array([value for value in values if value is not None], dtype=np.float64)


def _value(found: Estimate | None) -> float | None:
    return None if found is None else found.value


def _others(told: str) -> str:
    return f" ({told})" if told else ""

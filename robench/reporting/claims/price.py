"""What the paper claims of the price: clean accuracy, training that does not converge, time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from robench.reporting.claims.approaches import HKR, Approach, Field
from robench.reporting.claims.claim import Claim, Verdict, at_least, at_most, between, points
from robench.statistics.convergence import settling
from robench.statistics.paired import Estimate, paired_difference
from robench.statistics.predictions import base_count

CHEAP, DEAR = 0.02, 0.05
"""Points of clean accuracy: the paper's own Table 1 has 1.97 between hKR and the best."""
LEARNT = 0.02
"""Above the base rate by this, a model has learnt something."""
SLOWER = 3.0
DEEP = 6
"""Layers with weights from which a network is deep here; the paper's for CelebA has 13."""


def clean_price(field: Field) -> Iterator[Claim]:
    """`an acceptable decrease of accuracy without noise`."""
    for own in field.of(HKR):
        rivals = field.rivals(own)
        losses = {item.name: lead for item in rivals if (lead := _clean_lead(item, own)) is not None}
        best = max(losses, key=lambda name: losses[name].value, default=None)
        found = None if best is None else losses[best]
        clean = float(np.mean(list(own.correct().values()))) if own.correct() else 0.0
        yield Claim(
            number=12,
            models=f"{field.name}: {own.name}",
            figure=f"{points(clean)} % clean, {points(found.value)} points below {best}, {found.n} images"
            if found
            else "",
            interval="" if found is None else between(found),
            rule=f"holds: at most {points(CHEAP)} points below the best other approach; partly: at most {points(DEAR)}",
            verdict=at_most(None if found is None else found.value, CHEAP, DEAR),
        )


def one_lip_fails(field: Field, depth: int) -> Iterator[Claim]:
    """`1LIP was unable to converge on CelebA`: it does not learn in deep networks.

    Args:
        field: of one architecture.
        depth: layers with weights, from the Lipschitz bound of a model.
    """
    for item in field.of("1lip-log"):
        correct = item.correct()
        if not correct or depth < DEEP:
            continue
        rate = float(np.mean(list(correct.values())))
        run = item.evaluations[0].largest
        base = base_count([record.label for record in run.records]) / run.n
        best = max(field.of(HKR) + field.of("gnp-log"), key=lambda one: _mean(one), default=None)
        behind = None if best is None else _clean_lead(best, item)
        curve = item.training.curves.get("clean_accuracy", ())
        settled = settling(curve)
        told = "" if settled is None else f"; last third of training {points(settled.change)} points"
        yield Claim(
            number=13,
            models=f"{field.name}, {depth} layers: {item.name}",
            figure=f"{points(rate)} % clean, base rate {points(base)} %"
            + ("" if behind is None or best is None else f", {points(behind.value)} points below {best.name}")
            + told,
            interval="" if behind is None else between(behind),
            rule=f"holds: not {points(LEARNT)} points above the base rate; partly: surely below a gradient norm "
            "preserving network",
            verdict=Verdict.HOLDS if rate - base < LEARNT else at_least(behind and behind.low, 1.0, 0.0),
        )


def slower_training(field: Field) -> Iterator[Claim]:
    """`this regularization can increase the computation time during learning (up to three times slower)`."""
    for own in field.of(HKR):
        plain = [item for item in field.of("plain") if _pace(item) is not None]
        pace, usual = _pace(own), _pace(plain[0]) if plain else None
        ratio = None if pace is None or usual is None or _device(own) != _device(plain[0]) else pace / usual
        yield Claim(
            number=14,
            models=f"{field.name}: {own.name} against plain",
            figure="" if ratio is None else f"{ratio:.1f} times the seconds of an epoch, on {_device(own)}",
            interval="",
            rule="of the clock of trainings that may have shared their machine; holds: up to 3; not beyond. "
            "benchmarks/training.py measures it side by side",
            verdict=at_most(ratio, SLOWER, SLOWER),
        )


def _clean_lead(item: Approach, over: Approach) -> Estimate | None:
    """How much more often one approach is right than another, on the images of both."""
    one, other = item.correct(), over.correct()
    keys = sorted(one.keys() & other.keys())
    if not keys:
        return None
    return paired_difference(np.array([one[key] for key in keys]), np.array([other[key] for key in keys]))


def _mean(item: Approach) -> float:
    return float(np.mean(list(item.correct().values()) or [0.0]))


def _pace(item: Approach) -> float | None:
    """Seconds an epoch, the median over its models."""
    paces = [training.seconds / training.epochs for training in item.trainings if training.epochs]
    return float(np.median(paces)) if paces and min(paces) > 0 else None


def _device(item: Approach) -> str:
    return item.training.device or "an unknown device"

"""Which model of a data set is best at one ε: ranks that the sampling error allows, and what else decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from robench.reporting.evaluation import Evaluation
from robench.reporting.tables import cells
from robench.reporting.tables.table import Rate
from robench.specs.epsilon import ascending, epsilon_value
from robench.statistics.curves import Curve
from robench.statistics.pairing import Difference, Judged, differences
from robench.statistics.predictions import FLAGS as KNOWS_NOTHING

USUAL_EPS = {"mnist": "1.58", "cifar10": "36/255"}
"""The radius at which a data set is usually certified: 1.58 in GloRo and its successors, 36/255 in Cohen et al. and
all since."""


def target_of(group: Sequence[Evaluation], asked: str | None = None) -> str:
    """The ε at which models are compared: the one asked, the usual one of the data, or the middle one of the runs.

    Args:
        group: the models.
        asked: by the user, as written.
    """
    usual = USUAL_EPS.get(group[0].data.name or group[0].data_name.split(" ")[0])
    if asked or usual:
        return str(asked or usual)
    eps = ascending(text for item in group for text in item.eps)
    return eps[(len(eps) - 1) // 2]


@dataclass(frozen=True, kw_only=True, eq=False)
class Standing:
    """One model in a ranking.

    Fields:
        item: the model.
        rank: 1 and how many models are better by more than the sampling error; None for a model without a rate, and
            for one whose certificate was contradicted.
        against_best: this model against the first one, on the images of both; None for the first one.
    """

    item: Evaluation
    eps: str
    rank: int | None
    against_best: Difference | None

    @property
    def certified(self) -> Rate | None:
        """Certified accuracy on all certified images."""
        return cells.certified(self.item.certified(), self.eps)

    @property
    def low(self) -> Rate | None:
        """Certified accuracy on the attacked images, to be set against `attacked`."""
        return cells.certified(self.item.certified_on_attacked(), self.eps)

    @property
    def attacked(self) -> Rate | None:
        """Accuracy under all attacks; an upper bound also where they were not asked about this ε."""
        return cells.under_attack(self.item.robust(), self.eps)

    @property
    def asked(self) -> bool:
        """Whether the attacks were asked about this ε."""
        return epsilon_value(self.eps) in {epsilon_value(text) for text in self.item.attacked_eps}

    @property
    def clean(self) -> Rate | None:
        """Clean accuracy on the images of the largest run."""
        return cells.clean(self.item.largest)

    @property
    def base(self) -> Rate | None:
        """The base rate of those images."""
        return cells.base(self.item.largest)

    @property
    def radius(self) -> Fraction | None:
        """Mean certified radius, 0 where misclassified."""
        curve = self.item.certified()
        return None if curve is None else curve.mean

    @property
    def gap(self) -> Rate | None:
        """What is open: neither proven nor broken, of the attacked images."""
        if self.low is None or self.attacked is None:
            return None
        return Rate(self.attacked.count - self.low.count, self.attacked.n, proven=False)

    @property
    def knows_nothing(self) -> bool:
        """Whether its predictions alone raise a flag."""
        return any(flag.name in KNOWS_NOTHING for flag in self.item.flags)

    @property
    def tied(self) -> bool:
        """Whether the sampling error does not let it be told from the first one."""
        return self.rank == 1


@dataclass(frozen=True, eq=False)
class Ranking:
    """The models of a data set at one ε, the best first.

    Fields:
        data: name of the data set.
        eps: as written.
        proven: whether they are ranked by certified accuracy; else by accuracy under attack, as none has a certificate.
        standings: one a model.
    """

    data: str
    eps: str
    proven: bool
    standings: tuple[Standing, ...]

    @cached_property
    def first(self) -> tuple[Standing, ...]:
        """Those that nothing tells from the best one; empty where no model has a rank."""
        return tuple(item for item in self.standings if item.tied)

    @property
    def next(self) -> Standing | None:
        """The first one that is worse than the best by more than the sampling error."""
        return next((item for item in self.standings if item.rank is not None and not item.tied), None)


def ranking(data: str, group: Sequence[Evaluation], eps: str) -> Ranking:
    """Rank the models of a data set.

    They are ranked by certified accuracy at ε, on all images that were certified: what is proven cannot be an accident
    of a weak attack. A model without a certificate has no rank beside models that have one. Without any certificate
    accuracy under attack ranks them.

    Args:
        data: its name.
        group: the models.
        eps: as written.
    """
    proven = any(_proven(item) is not None for item in group)
    curves = {item.name: _proven(item) if proven else item.robust() for item in group}
    ranked = [item for item in group if curves[item.name] is not None and not item.contradictions]
    rates = {item.name: _rate(curves[item.name], eps) for item in group}
    ranked.sort(key=lambda item: (-rates[item.name], -_rate(item.robust(), eps), item.name))
    table = differences([_judged(item, curves[item.name], eps) for item in ranked])
    ranks = _ranks([rates[item.name] for item in ranked], table)
    rest = sorted(
        (item for item in group if item not in ranked),
        key=lambda item: (bool(item.contradictions), -_rate(item.robust(), eps), item.name),
    )
    standings = [
        Standing(item=item, eps=eps, rank=rank, against_best=table.get((place, 0)))
        for place, (item, rank) in enumerate(zip(ranked, ranks, strict=True))
    ]
    standings += [Standing(item=item, eps=eps, rank=None, against_best=None) for item in rest]
    return Ranking(data, eps, proven, tuple(standings))


def _ranks(rates: Sequence[Fraction], table: Mapping[tuple[int, int], Difference]) -> list[int]:
    """For each model 1 and the number of models that are better for certain; never above that of a model behind it."""
    ranks = [
        1 + sum(rates[other] > rates[place] and table[other, place].real for other in range(place))
        for place in range(len(rates))
    ]
    return np.minimum.accumulate(ranks[::-1])[::-1].tolist() if ranks else []


def _proven(item: Evaluation) -> Curve | None:
    curve = item.certified()
    return curve if curve is not None and curve.n else None


def _rate(curve: Curve | None, eps: str) -> Fraction:
    return Fraction(-1) if curve is None or not curve.n else curve.rate(epsilon_value(eps))


def _judged(item: Evaluation, curve: Curve | None, eps: str) -> Judged:
    """On which images a model counts, in the order of its records."""
    assert curve is not None
    run = item.attack if curve is item.robust() else item.certified_by
    assert run is not None
    return Judged(
        [(record.index, record.input_sha256) for record in run.records], curve.thresholds > epsilon_value(eps)
    )

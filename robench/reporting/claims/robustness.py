"""What the paper claims of accuracy under attack: who stands longest, under which attacks, at which ε."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from robench.records.record import COMBINED
from robench.reporting.claims.approaches import HKR, Approach, Field, ahead
from robench.reporting.claims.claim import Claim, Side, at_most, between, points, side, verdict_of
from robench.specs.epsilon import epsilon_value
from robench.statistics.paired import Estimate, paired_difference

STANDING = 0.05
"""An ε counts where one approach or more keeps this accuracy: beyond, nothing is left to compare."""
FEWEST = 50
"""Images below which accuracies are not compared."""
ALIKE, ALIKE_AT_MOST = 0.05, 0.15
"""Spread over the attacks: 5 points are alike; 15 is a little more than the paper's own Table 1 has for hKR."""
SINGLE = ("fgsm", "pgd", "cw", "deepfool")
RULE_AHEAD = (
    "at each ε, hKR is held against each other approach on the same images; holds: ahead of all at every ε; partly: at "
    f"some; an ε at which nobody keeps {points(STANDING)} % is left out"
)


class At(NamedTuple):
    """How an approach stands at one ε.

    Fields:
        own: its accuracy.
        best: the rival with the highest accuracy, and that accuracy.
        nearest: the smallest lead over any rival, as a difference on the same images.
    """

    eps: str
    own: float
    best: str
    best_accuracy: float
    nearest: Estimate

    @property
    def side(self) -> Side:
        """Whether it is ahead of all rivals."""
        return side(self.nearest)


def at_each_eps(field: Field, own: Approach, attack: str = COMBINED) -> list[At]:
    """How an approach stands at each ε that it and its rivals were asked about, where somebody stands.

    Args:
        field: all approaches.
        own: the one.
        attack: its name; all together if none is named.
    """
    rivals = [item for item in field.rivals(own) if attack == COMBINED or attack in item.attacks]
    if not rivals or (attack != COMBINED and attack not in own.attacks):
        return []
    shared = [text for text in own.eps if all(text in item.eps for item in rivals)]
    keys = sorted(set.intersection(own.images, *(item.images for item in rivals)))
    if len(keys) < FEWEST:
        return []
    found = []
    for text in shared:
        accuracies = {item.name: float(item.robust(keys, text, attack).mean()) for item in rivals}
        best = max(accuracies, key=lambda name: accuracies[name])
        accuracy = float(own.robust(keys, text, attack).mean())
        if max(accuracy, accuracies[best]) < STANDING:
            continue
        leads = [lead for item in rivals if (lead := ahead(own, item, text, attack)) is not None]
        found.append(At(text, accuracy, best, accuracies[best], min(leads, key=lambda lead: lead.low)))
    return found


def upper_half(found: Sequence[At]) -> list[At]:
    """The larger half of the ε at which somebody stands."""
    return list(found[len(found) // 2 :])


def most_robust(field: Field, attack: str = COMBINED) -> Iterator[Claim]:
    """`hKR obtain the highest level of robustness`: at large ε, and at all."""
    under = "all attacks" if attack == COMBINED else attack
    for own in field.of(HKR):
        found = at_each_eps(field, own, attack)
        for number, chosen in ((1, upper_half(found)), (2, found)):
            yield Claim(
                number=number,
                models=f"{field.name}: {own.name}{_seeds(own)}, under {under}",
                figure=_figure(chosen),
                interval=_interval(chosen),
                rule=RULE_AHEAD,
                verdict=verdict_of([item.side for item in chosen]),
            )


def strong_against_cw(field: Field) -> Iterator[Claim]:
    """`especially strong w.r.t. Carlini and Wagner attack even with high values of ε`."""
    for own in field.of(HKR):
        chosen = upper_half(at_each_eps(field, own, "cw"))
        yield Claim(
            number=3,
            models=f"{field.name}: {own.name}{_seeds(own)}",
            figure=_figure(chosen),
            interval=_interval(chosen),
            rule=RULE_AHEAD,
            verdict=verdict_of([item.side for item in chosen]),
        )


def better_than_gnp_log(field: Field) -> Iterator[Claim]:
    """`systematically better than GNP_log on all datasets`."""
    for own in field.of(HKR):
        sides, told, ends = [], [], []
        for other in field.of("gnp-log"):
            for text in own.eps:
                lead = ahead(own, other, text) if text in other.eps else None
                if lead is None or lead.n < FEWEST or lead.high - lead.low <= 0:
                    continue
                keys = sorted(own.images & other.images)
                pair = [float(item.robust(keys, text).mean()) for item in (own, other)]
                if max(pair) >= STANDING:
                    sides.append(side(lead))
                    told.append(f"{points(pair[0])} and {points(pair[1])} % at {text}")
                    ends.append(between(lead))
        yield Claim(
            number=4,
            models=f"{field.name}: {own.name}{_seeds(own)}",
            figure="; ".join(told),
            interval="; ".join(ends),
            rule="holds: ahead at every ε; partly: at some",
            verdict=verdict_of(sides),
        )


def attacks_alike(field: Field) -> Iterator[Claim]:
    """`accuracies w.r.t. ε are similar regardless the attacks`."""
    for own in field.of(HKR):
        names = [name for name in SINGLE if name in own.attacks]
        keys = sorted(own.images)
        spreads = _spreads(own, names) if len(names) > 1 and len(keys) >= FEWEST else {}
        worst = max(spreads, key=lambda text: spreads[text].value, default=None)
        if worst is None:
            figure, interval = "", ""
        else:
            others = {item.name: _spreads(item, names).get(worst) for item in field.rivals(own) if names}
            told = [f"{name} {points(item.value)}" for name, item in others.items() if item is not None]
            figure = f"spread over {', '.join(names)} at most {points(spreads[worst].value)} points, at {worst}"
            figure += f" ({'; '.join(told)})" if told else ""
            interval = between(spreads[worst])
        yield Claim(
            number=5,
            models=f"{field.name}: {own.name}{_seeds(own)}",
            figure=figure,
            interval=interval,
            rule=f"largest spread at any ε, in points: holds to {points(ALIKE)}, partly to {points(ALIKE_AT_MOST)}",
            verdict=at_most(None if worst is None else spreads[worst].value, ALIKE, ALIKE_AT_MOST),
        )


def _spreads(item: Approach, names: Sequence[str]) -> dict[str, Estimate]:
    """By ε, how much more often the model stands under the weakest attack than under the strongest."""
    keys, found = sorted(item.images), {}
    if not keys or any(name not in item.attacks for name in names):
        return {}
    for text in item.eps:
        rates = [item.robust(keys, text, name) for name in names]
        means = [float(rate.mean()) for rate in rates]
        if max(means) >= STANDING:
            found[text] = paired_difference(rates[int(np.argmax(means))], rates[int(np.argmin(means))])
    return found


def _figure(found: Sequence[At]) -> str:
    """Accuracies, own and best other."""
    return "; ".join(
        f"{points(item.own)} % against {points(item.best_accuracy)} % ({item.best}) at {item.eps}"
        for item in sorted(found, key=lambda item: epsilon_value(item.eps))
    )


def _interval(found: Sequence[At]) -> str:
    """Intervals of the smallest leads."""
    return "; ".join(between(item.nearest) for item in sorted(found, key=lambda item: epsilon_value(item.eps)))


def _seeds(item: Approach) -> str:
    """How many models there are."""
    n = len(item.evaluations)
    return "" if n == 1 else f" ({n} seeds)"

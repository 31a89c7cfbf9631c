"""A claim of the paper, held against what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from robench.statistics.paired import Estimate


class Verdict(str, Enum):
    """What the measurements say of a claim."""

    HOLDS = "holds"
    PARTLY = "holds partly"
    FAILS = "does not hold"
    OPEN = "not measured"
    """Runs are missing, or their images are too few to tell."""


class Said(NamedTuple):
    """What the paper says, and where."""

    text: str
    place: str


PAPER = {
    1: Said("hKR is the most robust at large ε", "§5, Fig. 3 and 4"),
    2: Said("hKR is the most robust at every ε, small ones too", "§5"),
    3: Said("hKR is especially strong against Carlini and Wagner's attack at large ε", "§5, Table 1"),
    4: Said("hKR is systematically better than GNP_log", "§5, Fig. 3 and 4"),
    5: Said("for hKR, accuracies under different attacks are alike", "§5, Table 1"),
    6: Said(
        "|f(x)| (for several classes half the gap of the two largest logits) is near the distance of the nearest "
        "adversarial example",
        "Eq. (9), §4.2, Fig. 2",
    ),
    7: Said("the gradient norm of f is 1", "Prop. 1, §4.1"),
    8: Said("the nearest adversarial example lies along -f(x) ∇f(x)", "§3.2, §5"),
    9: Said("the transport plan sends x along -f(x) ∇f(x) too", "§3.2, Fig. 5"),
    10: Said("the hKR loss is the dual of a transport problem: its optimum is reached, not exceeded", "Theorem 2"),
    11: Said("KR alone is a weak classifier; with the hinge the outputs of the two classes part", "§2, Fig. 1 and 2"),
    12: Said("the price in clean accuracy is acceptable", "§5, Table 1"),
    13: Said("log-entropy with Björck weights and ReLU (1LIP_log) does not converge in deep networks", "§5"),
    14: Said("training is up to three times slower than without the constraint", "§6"),
}
"""The claims by number."""


NO_MODELS = "no run shows it"
"""Stands for the models of a claim of which there is no trace."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim on one set of models.

    Fields:
        number: key of `PAPER`; the same on every set.
        models: which models on which data were measured.
        figure: what was measured, in words.
        interval: its interval, 95 % unless it says otherwise; empty where there is none.
        rule: by which the verdict follows from the figure.
    """

    number: int
    models: str
    figure: str
    interval: str
    rule: str
    verdict: Verdict

    @property
    def said(self) -> Said:
        """What the paper says."""
        return PAPER[self.number]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**self.said._asdict(), **self.__dict__, "verdict": self.verdict.value}


class Side(Enum):
    """On which side of 0 a difference lies for sure."""

    AHEAD = 1
    EVEN = 0
    BEHIND = -1


def side(difference: Estimate) -> Side:
    """Where the whole interval of a difference lies."""
    if difference.low > 0:
        return Side.AHEAD
    return Side.BEHIND if difference.high < 0 else Side.EVEN


def verdict_of(sides: Sequence[Side]) -> Verdict:
    """Of comparisons in all of which the claim sees one ahead: at several ε, or against several others.

    All ahead: it holds. Some ahead: partly. None ahead and one behind: it does not hold. None of either: the images do
    not decide it.
    """
    if not sides:
        return Verdict.OPEN
    if all(one is Side.AHEAD for one in sides):
        return Verdict.HOLDS
    if any(one is Side.AHEAD for one in sides):
        return Verdict.PARTLY
    return Verdict.FAILS if Side.BEHIND in sides else Verdict.OPEN


def points(value: float) -> str:
    """A share in percent, or a difference of two in points, to nearest."""
    return f"{100 * value:.1f}"


def between(estimate: Estimate, show: Any = points) -> str:
    """The ends of an interval."""
    return f"{show(estimate.low)} to {show(estimate.high)}"


def at_most(value: float | None, good: float, fair: float) -> Verdict:
    """Of a number that the claim wants small; None where it was not measured.

    Args:
        value: the number.
        good: up to which the claim holds.
        fair: up to which it holds partly.
    """
    if value is None:
        return Verdict.OPEN
    return Verdict.HOLDS if value <= good else Verdict.PARTLY if value <= fair else Verdict.FAILS


def at_least(value: float | None, good: float, fair: float) -> Verdict:
    """Of a number that the claim wants large; None where it was not measured.

    Args:
        value: the number.
        good: from which the claim holds.
        fair: from which it holds partly.
    """
    return at_most(None if value is None else -value, -good, -fair)

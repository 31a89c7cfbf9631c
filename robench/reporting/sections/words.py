"""Notes below tables, and figures in words for who does not see them."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence

from robench.numerics import ABSENT, upper
from robench.reporting.evaluation import Evaluation
from robench.reporting.tables import cells, shown

RIGHT_TO_LEFT = ("R", "AL", "AN", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "FSI", "PDF", "PDI")
ENSEMBLE_NOTE = (
    "broke k of m: this run was an ensemble, and of the m images that the attack was given it broke k itself. That is "
    "no accuracy, since the attacks before it chose those images; only combined is one. With --full each attack is "
    "given every image that is not certified."
)
OPTIMALITY_NOTE = (
    "Optimality is that of AttackBench: 1 for the attack that finds, for every image, the nearest adversarial of all "
    "attacks of this run within the largest ε asked, and 0 for one that finds none. It is rounded down."
)


def certificates(item: Evaluation) -> str:
    """What a certificate says; empty where there is none, or the run does not say."""
    facts = next((run.certificate for run in item.runs if run.certificate.rules), None)
    if facts is None:
        return ""
    model = "the model itself" if facts.model == "base" else facts.model
    return f"{', '.join(facts.rules)}; of {model} in {facts.arithmetic}, for {facts.region}"


def single_attacks(evaluations: Sequence[Evaluation]) -> str:
    """The panels of the single attacks in two sentences; the table beside them has the numbers."""
    attacks = list(dict.fromkeys(name for item in evaluations for name in item.attacks))
    return (
        f"Accuracy against ε under {listed(attacks)}, one panel each. It falls as ε grows, for {_models(evaluations)}."
    )


def accuracy(evaluations: Sequence[Evaluation]) -> str:
    """The curves in two sentences; the table beside them has the numbers."""
    item, text = evaluations[0], evaluations[0].eps[-1]
    ends = (
        f"certified {shown(cells.certified(item.certified_on_attacked(), text), unit=' %')}, "
        f"attacked {shown(cells.combined(item, text), unit=' %')}"
    )
    return f"Accuracy of {_models(evaluations)} falls as ε grows. {isolated(item.name)} at ε = {text}: {ends}."


def _models(evaluations: Sequence[Evaluation]) -> str:
    return counted(len(evaluations), "model") if len(evaluations) > 1 else isolated(evaluations[0].name)


def isolated(name: str) -> str:
    """A name inside a sentence, whatever its script: letters that run from right to left do not reorder the rest."""
    if all(unicodedata.bidirectional(letter) not in RIGHT_TO_LEFT for letter in name):
        return name
    return f"\u2068{name}\u2069"


def listed(parts: Sequence[str], joint: str = "and") -> str:
    """Parts of a sentence: `a, b and c`.

    Args:
        parts: in order.
        joint: before the last one.
    """
    *most, last = parts
    return f"{', '.join(most)} {joint} {last}" if most else last


def thousands(value: int) -> str:
    """A count with a narrow space between thousands."""
    return f"{value:,}".replace(",", "\u202f")


def counted(count: int, noun: str) -> str:
    """A count with its noun.

    Args:
        count: how many.
        noun: what, in the singular.
    """
    return f"{thousands(count)} {noun}{'' if count == 1 else 's'}"


def span(counts: Collection[int]) -> str:
    """Counts of several models: one number, or the least and the greatest."""
    low, high = min(counts), max(counts)
    return thousands(low) if low == high else f"{thousands(low)} to {thousands(high)}"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that a reader thinks in, rounded up; absent where not known."""
    if seconds is None:
        return ABSENT
    if seconds < 120:
        return f"{upper(seconds, 1)} s"
    return f"{upper(seconds / 60, 0)} min" if seconds < 7200 else f"{upper(seconds / 3600, 1)} h"

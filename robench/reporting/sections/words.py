"""Notes below tables, and figures in words for who does not see them."""

from __future__ import annotations

from collections.abc import Sequence

from robench.reporting.evaluation import Evaluation
from robench.reporting.tables import cells, shown

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
    """The curves of the single attacks in words: at the largest ε asked."""
    lines = []
    for item in evaluations:
        text = item.attacked_eps[-1]
        each = [f"{name} {shown(cells.attacked(item, name, text), unit=' %')}" for name in item.attacks]
        lines.append(f"{item.name} at ε = {text}: {', '.join(each)}.")
    return " ".join(["One panel an attack.", *lines])


def accuracy(evaluations: Sequence[Evaluation]) -> str:
    """The curves in words: both ends at every ε asked."""
    lines = []
    for item in evaluations:
        curve = item.certified_on_attacked()
        points = [
            f"at ε = {text} certified {shown(cells.certified(curve, text), unit=' %')}, "
            f"attacked {shown(cells.combined(item, text), unit=' %')}"
            for text in item.eps
        ]
        lines.append(f"{item.name}: {'; '.join(points)}.")
    return " ".join(["Accuracy falls as ε grows.", *lines])

"""What a reader must know before the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from robench.reporting.evaluation import Evaluation
from robench.statistics.predictions import FLAGS
from robench.statistics.sparing import SHARE


def notices(evaluations: Sequence[Evaluation]) -> tuple[str, ...]:
    """What a reader must know before reading the numbers; models of which the same is to be said share a line."""
    names: dict[str, list[str]] = {}
    for item in evaluations:
        for remark in _remarks(item):
            names.setdefault(remark, []).append(item.name)
    return tuple(f"{', '.join(models)}: {remark}" for remark, models in names.items())


def _remarks(item: Evaluation) -> list[str]:
    remarks = [
        f"run {run.name} is partial (status: {run.status}); the {run.n} images that it finished are here."
        for run in item.runs
        if run.status != "success"
    ]
    if item.data.canonical is False:
        remarks.append(f"the files of {item.data_name} are not the published ones, byte for byte.")
    remarks += [f"{flag.message}." for flag in item.flags() if flag.name in FLAGS]
    if item.refusal is not None:
        remarks.append(f"no certificate, since the Lipschitz constant has no bound: {item.refusal}.")
    elif item.certified("pairwise") is None:
        remarks.append("not certified; nothing is known from below.")
    if item.attack is None:
        remarks.append("not attacked; nothing is known from above but the clean accuracy.")
    if item.certify and item.attack and item.certify.n != item.attack.n:
        remarks.append(
            f"{item.certify.n} images were certified and {item.attack.n} attacked. Wherever certificates stand beside "
            "attacks, all is on the latter; clean accuracy, base rate and mean radius in the table of models and at "
            "the head of each model are on the former."
        )
    if item.attack and not item.full:
        remarks.append(
            "the attack run was an ensemble, in which an attack sees only what the attacks before it left open. Single "
            "attacks then have no accuracy, and the tables say what each broke of what it was given; the combined "
            "accuracy is the same as if every attack had seen every image, but for pairs that a rule spared."
        )
    if item.n_spared:
        remarks.append(
            f"pairs of image and ε that stand and were spared at least one attack: {item.n_spared}. An attack would "
            f"have had to gain more than {100 * SHARE:g} % of what is between the adversarial at hand and the "
            "certified radius. With --full nothing is spared."
        )
    return remarks

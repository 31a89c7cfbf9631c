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
    remarks += [f"{flag.message}." for flag in item.flags if flag.name in FLAGS]
    if item.refusal is not None:
        remarks.append(f"no certificate, since the Lipschitz constant has no bound: {item.refusal}.")
    elif item.certified() is None:
        remarks.append("not certified: there is no lower bound.")
    if item.attack is None:
        remarks.append("not attacked: the only upper bound is the clean accuracy.")
    if item.certify and item.attack and item.certify.n != item.attack.n:
        remarks.append(
            f"{item.certify.n} images were certified and {item.attack.n} attacked. Where certificates stand beside "
            "attacks, both are on the attacked images. Clean accuracy, base rate and mean radius in the table of "
            "models and at the head of each model are on the certified images."
        )
    if item.attack and not item.full:
        remarks.append(
            "the attacks ran as an ensemble: each saw only the images that the attacks before it left open. A single "
            "attack then has no accuracy, and the tables say how many images it broke of those it was given. The "
            "combined accuracy is the same as if every attack had seen every image, except for pairs that were spared."
        )
    if item.n_spared:
        remarks.append(
            f"pairs of image and ε that stand and were spared at least one attack: {item.n_spared}. An attack would "
            f"have had to gain more than {100 * SHARE:g} % of the distance between the nearest adversarial example and "
            "the certified radius. With --full nothing is spared."
        )
    return remarks

"""What predictions alone say: the accuracy that needs no model, each class by itself, signs that a model knows nothing.

A model that says one class for every image is as accurate as that class is frequent, and certified so at every ε. The
base rate therefore stands beside every accuracy, and these flags say when the one is no more than the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from scipy.special import betainc

from robench.numerics import upper_percent

CONSTANT = "constant-prediction"
NO_BETTER = "no-better-than-base-rate"
ONE_CLASS = "one-class-data"
FLAGS = (CONSTANT, NO_BETTER, ONE_CLASS)
LEVEL = 0.05
"""Chance at which a model without skill would pass for one that has some."""


class Flag(NamedTuple):
    """A named doubt.

    Fields:
        name: heading of its entry in docs/flags.md.
        message: what was seen, with numbers.
    """

    name: str
    message: str


class Predicted(Protocol):
    """What is needed of a record."""

    @property
    def label(self) -> int:
        """True class."""

    @property
    def predicted(self) -> int:
        """Predicted class."""


class Prediction(NamedTuple):
    """One image without its record."""

    label: int
    predicted: int


P = TypeVar("P", bound=Predicted)


def base_count(labels: Sequence[int]) -> int:
    """How many images are of the most frequent true class; 0 without images."""
    return max(Counter(labels).values(), default=0)


def accuracy_facts(records: Sequence[Predicted]) -> dict[str, Any]:
    """Counts and rates of correct predictions and of the most frequent class, for a summary; at least one record."""
    n, correct = len(records), sum(record.predicted == record.label for record in records)
    most = base_count([record.label for record in records])
    return {"n": n, "n_correct": correct, "clean_accuracy": correct / n, "n_base": most, "base_rate": most / n}


def by_class(records: Sequence[P], describe: Callable[[Sequence[P]], Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Facts on the images of each true class, by class; classes that are only predicted are there with 0 images.

    Args:
        records: of all images.
        describe: further facts on the records of one class, of which there may be none.
    """
    predicted = Counter(record.predicted for record in records)
    found = {}
    for label in sorted({record.label for record in records} | set(predicted)):
        members = [record for record in records if record.label == label]
        correct = sum(record.predicted == label for record in members)
        found[str(label)] = {
            "n": len(members),
            "n_predicted": predicted[label],
            "n_correct": correct,
            "clean_accuracy": correct / len(members) if members else None,
            **describe(members),
        }
    return found


def record_flags(records: Sequence[Predicted]) -> list[Flag]:
    """The flag that the predictions raise; at most one, the gravest.

    - `constant-prediction`: one class for every image, though the images are of two classes or more.
    - `one-class-data`: all images are of one class, so that nothing tells a good model from a constant.
    - `no-better-than-base-rate`: images that only the model has right do not outnumber those that only the constant
      has right, by an exact sign test at 5 %. A model that is right everywhere passes from five images on that are not
      of the most frequent class; with fewer nothing can be said.
    """
    labels, predicted = [record.label for record in records], {record.predicted for record in records}
    n, classes = len(labels), Counter(labels)
    if not n:
        return []
    if len(classes) == 1:
        return [Flag(ONE_CLASS, f"all {n} images are of class {labels[0]}: a constant would have all of them right")]
    most, frequency = classes.most_common(1)[0]
    base = f"the most frequent class is {upper_percent(frequency, n)} % of them"
    if len(predicted) == 1:
        return [
            Flag(
                CONSTANT, f"class {predicted.pop()} is predicted for all {n} images, of {len(classes)} classes; {base}"
            )
        ]
    gained = sum(record.predicted == record.label != most for record in records)
    lost = sum(record.predicted != record.label == most for record in records)
    if _tail(n - frequency, n - frequency) <= LEVEL < _tail(gained, gained + lost):
        text = f"accuracy {upper_percent(frequency - lost + gained, n)} % on {n} images is not above chance: {base}"
        return [Flag(NO_BETTER, text)]
    return []


def all_flags(records: Sequence[Predicted], raised: Iterable[Mapping[str, Any]]) -> list[Flag]:
    """What the predictions raise now, and what was raised before about anything else, each once.

    Args:
        records: of all images.
        raised: name and message of flags of a manifest or a summary.
    """
    noted = [Flag(str(item.get("name", "unnamed")), str(item.get("message", ""))) for item in raised]
    return list(dict.fromkeys([*record_flags(records), *(flag for flag in noted if flag.name not in FLAGS)]))


def _tail(heads: int, tosses: int) -> float:
    """The chance of so many heads or more of a fair coin, as a regularised incomplete beta function."""
    return float(betainc(heads, tosses - heads + 1, 0.5)) if heads else 1.0

"""Suites of `robench bench` as data: which models are trained, certified and attacked, on which data and at which ε.

Each suite of robench is a JSON file in `robench/specs/suites`; a suite of one's own is another such file.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from robench.errors import SpecError, did_you_mean
from robench.specs.attacks import resolve_attacks
from robench.specs.base import NonNegativeInt, PositiveInt, Spec
from robench.specs.data import Split
from robench.specs.epsilon import epsilon_value

FULL_SIZE = "full-size"
"""The ending of the name of a suite with the paper's own sizes, for a GPU."""


@dataclass(frozen=True, kw_only=True)
class SuiteModel(Spec):
    """One model of a suite.

    Fields:
        label: what it is called within its track.
        recipe: how it is trained: a key of `robench.training.recipes.RECIPES`.
        arch: architecture; None for the default of the data set.
        epochs: None for the default of the data set.
        changes: fields of the training spec that differ from the recipe's, by dotted path.
    """

    label: str
    recipe: str
    arch: str | None = None
    epochs: PositiveInt | None = None
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SuiteAttack(Spec):
    """One attack run for each model of a track.

    Fields:
        label: what it is called, in names of folders; empty for the main one, whose numbers stand in the table.
        images: of the test split, from the first on.
        attacks: names of attacks to their options; empty for the suite `paper` of `robench attack`.
        full: every attack on every image that is not certified, for columns of single attacks.
    """

    label: str = ""
    images: PositiveInt
    attacks: dict[str, dict[str, Any]] = field(default_factory=dict)
    full: bool = False

    def __post_init__(self) -> None:
        """Refuse attacks that do not exist."""
        super().__post_init__()
        resolve_attacks("paper", self.attacks)


@dataclass(frozen=True, kw_only=True)
class SuitePotential(Spec):
    """Models of two classes held against the optimum of Theorem 2, by `robench potential`.

    Fields:
        labels: of the models.
        splits: of the data.
        images: of each split, from the first on.
        alpha, margin: of the hinge; None for those of the training.
    """

    labels: tuple[str, ...]
    splits: tuple[Split, ...]
    images: PositiveInt
    alpha: float | None = None
    margin: float | None = None


@dataclass(frozen=True, kw_only=True)
class Track(Spec):
    """The models of a suite that share a data set.

    Fields:
        data: name of the data set; None where the user has to name it.
        name: of the track, first part of the names of its folders; None for the name of the data set.
        eps: L2 radii, as written, in input units.
        models: in the order of the table.
        attacks: runs of attacks; the first is the main one. Certificates cover the whole test split.
        potential: None where no model is held against its transport problem.
    """

    data: str | None
    name: str | None = None
    eps: tuple[str, ...]
    models: tuple[SuiteModel, ...]
    attacks: tuple[SuiteAttack, ...]
    potential: SuitePotential | None = None

    def __post_init__(self) -> None:
        """Check what has to fit each other."""
        super().__post_init__()
        for text in self.eps:
            epsilon_value(text)
        labels = [model.label for model in self.models]
        for what, names in (("models", labels), ("attacks", [attack.label for attack in self.attacks])):
            if not names or len(set(names)) < len(names):
                raise SpecError(f"the {what} of a track have the labels {names}", hint="give each a label of its own")
        strange = set(self.potential.labels if self.potential else ()) - set(labels)
        if strange:
            raise SpecError(f"`potential` names {sorted(strange)}", hint=did_you_mean(min(strange), labels))


@dataclass(frozen=True, kw_only=True)
class Suite(Spec):
    """A benchmark: tracks run one after the other, reported together.

    Fields:
        about: one line for the help.
        seeds: of trainings and attacks, unless others are asked.
        tracks: in order.
    """

    about: str
    seeds: tuple[NonNegativeInt, ...] = (0,)
    tracks: tuple[Track, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of all models, each once."""
        return tuple(dict.fromkeys(model.label for track in self.tracks for model in track.models))

    def only(self, labels: Collection[str]) -> Suite:
        """The part of the suite that has these models.

        Raises:
            SpecError: there is no such model.
        """
        strange = [label for label in labels if label not in self.labels]
        if strange:
            raise SpecError(f"the suite has no model `{strange[0]}`", hint=did_you_mean(strange[0], self.labels))
        chosen = [
            replace(
                track,
                models=tuple(model for model in track.models if model.label in labels),
                potential=_with_labels(track.potential, labels),
            )
            for track in self.tracks
            if labels_of(track) & set(labels)
        ]
        return replace(self, tracks=tuple(chosen))

    def on(self, data: str) -> Suite:
        """The suite on data that the user names, instead of its own.

        Raises:
            SpecError: the suite has several tracks, so that one name does not say which is meant.
        """
        if len(self.tracks) != 1:
            names = ", ".join(str(track.data) for track in self.tracks)
            raise SpecError(f"the suite has {len(self.tracks)} data sets: {names}", hint="leave out `--data`")
        return replace(self, tracks=(replace(self.tracks[0], data=data),))

    def at_most(self, images: int) -> Suite:
        """The suite with no more attacked images than this in any run."""
        tracks = [
            replace(track, attacks=tuple(replace(item, images=min(item.images, images)) for item in track.attacks))
            for track in self.tracks
        ]
        return replace(self, tracks=tuple(tracks))

    def trained_for(self, epochs: int) -> Suite:
        """The suite with every model trained for so many epochs."""
        tracks = [
            replace(track, models=tuple(replace(model, epochs=epochs) for model in track.models))
            for track in self.tracks
        ]
        return replace(self, tracks=tuple(tracks))


def labels_of(track: Track) -> set[str]:
    """Labels of the models of a track."""
    return {model.label for model in track.models}


def _with_labels(potential: SuitePotential | None, labels: Collection[str]) -> SuitePotential | None:
    """What is left of it for some models."""
    kept = tuple(label for label in potential.labels if label in labels) if potential else ()
    return replace(potential, labels=kept) if potential and kept else None


def suite_names() -> tuple[str, ...]:
    """The suites that come with robench; `embedded` first, those of full size last."""
    names = [Path(item.name).stem for item in _folder().iterdir() if item.name.endswith(".json")]
    return tuple(sorted(names, key=lambda name: (name != "embedded", name.endswith(FULL_SIZE), name)))


def read_suite(name: str) -> Suite:
    """A suite by name, or from a JSON file of one's own.

    Args:
        name: one of `suite_names()`, or the path of a `.json` file.

    Raises:
        SpecError: there is no such suite, or the file is none.
    """
    own = name.endswith(".json")
    if not own and name not in suite_names():
        hint = f"{did_you_mean(name, suite_names())}, or the path of a JSON file"
        raise SpecError(f"there is no suite `{name}`", hint=hint)
    try:
        text = Path(name).read_text(encoding="utf-8") if own else (_folder() / f"{name}.json").read_text("utf-8")
        data = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise SpecError(f"the suite `{name}` cannot be read: {error}", hint="give a JSON file of a suite") from None
    if not isinstance(data, dict):
        raise SpecError(f"`{name}` holds no suite", hint='write {"about": "…", "tracks": […]}')
    return Suite.from_dict(data)


def _folder() -> Any:
    """The folder of the suites of robench."""
    return resources.files("robench.specs") / "suites"

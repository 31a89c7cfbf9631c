"""Recipes: plain functions from a task to a full `TrainSpec`, for the classifiers that the paper compares and ours.

Paper, §5: all recipes share the same architectures, and differ in how weights are constrained, what goes between the
layers, and the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from robench.data import TwoClasses
from robench.errors import SpecError, did_you_mean
from robench.models.architectures import GRADIENT_NORM_PRESERVING, PAIR_SORT, RELU, Style, architecture
from robench.specs.data import DataSpec
from robench.specs.epsilon import epsilon_value
from robench.specs.model import ModelSpec, Shape
from robench.specs.training import (
    AdversarialSpec,
    HingeLossSpec,
    HKRLossSpec,
    KRLossSpec,
    LogLossSpec,
    OptimizerSpec,
    PairwiseMarginLossSpec,
    TrainSpec,
)


class Defaults(NamedTuple):
    """What a data set suggests where the user says nothing.

    Fields:
        arch: architecture.
        epochs, batch_size: so that two cores need seconds for the embedded sets and minutes for MNIST.
        margin: m of the hinge terms, in input units: the paper's 1 where classes lie that far apart, less where not.
        radius_margin: m of the recipe `margin`; somewhat above the radius to be certified, `select_eps`.
        radius_epochs: epochs of the recipe `margin`; None for `epochs`.
        inverse_temperature: of log-entropy under a constraint: the paper's 1 where logits span several units, or more.
        select_eps: L2 radius of the validation estimate.
        adversarial_eps: L2 radius of adversarial training.
        tried: whether the values were tried on this very set; else they are lowered where two classes lie nearer.
    """

    arch: str
    epochs: int
    batch_size: int
    margin: float
    radius_margin: float
    inverse_temperature: float
    select_eps: str
    adversarial_eps: float
    radius_epochs: int | None = None
    tried: bool = False

    def near(self, distance: float) -> Defaults:
        """The same for two classes whose means lie `distance` apart, all lengths scaled alike.

        With a margin above what a 1-Lipschitz function can reach, the hinge is linear at every example. Its minimum
        then depends on the bias alone: that of the majority, and the model is a constant. A quarter of the distance
        leaves half of what a linear function reaches for the spread within the classes.
        """
        margin = min(self.margin, max(distance / 4, self.margin / 50))
        scale = margin / self.margin
        if scale == 1:
            return self
        return self._replace(
            margin=_two_digits(margin),
            radius_margin=_two_digits(self.radius_margin * scale),
            inverse_temperature=_two_digits(self.inverse_temperature / scale),
            select_eps=str(_two_digits(epsilon_value(self.select_eps) * scale)),
            adversarial_eps=_two_digits(self.adversarial_eps * scale),
        )


UNEQUAL = 0.6
"""Share of the majority from which two classes are made to count alike."""

DEFAULTS: Mapping[str, Defaults] = {
    "two-moons": Defaults(
        arch="dense-small",
        epochs=40,
        batch_size=256,
        margin=0.3,
        radius_margin=0.3,
        inverse_temperature=10.0,
        select_eps="0.2",
        adversarial_eps=0.2,
        tried=True,
    ),
    "digits": Defaults(
        arch="dense-small",
        epochs=40,
        batch_size=128,
        margin=0.7,
        radius_margin=1.5,
        inverse_temperature=1.0,
        select_eps="0.5",
        adversarial_eps=0.5,
        tried=True,
    ),
    "mnist": Defaults(
        arch="dense",
        epochs=10,
        batch_size=256,
        margin=1.0,
        radius_margin=2.3,
        inverse_temperature=1.0,
        select_eps="1.58",
        adversarial_eps=1.5,
        radius_epochs=26,
        tried=True,
    ),
    "fashion-mnist": Defaults(
        arch="dense",
        epochs=10,
        batch_size=256,
        margin=1.0,
        radius_margin=1.5,
        inverse_temperature=1.0,
        select_eps="0.5",
        adversarial_eps=1.0,
    ),
    "cifar10": Defaults(
        arch="cifar",
        epochs=60,
        batch_size=256,
        margin=1.0,
        radius_margin=0.6,
        inverse_temperature=1.0,
        select_eps="36/255",
        adversarial_eps=0.5,
    ),
    "celeba": Defaults(
        arch="celeba",
        epochs=30,
        batch_size=128,
        margin=1.0,
        radius_margin=3.0,
        inverse_temperature=1.0,
        select_eps="1",
        adversarial_eps=1.0,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be learnt, and the few settings that every recipe takes.

    Fields:
        input_shape: without the batch.
        classes: two classes get one logit.
        arch: name of an architecture or path of a layer file; None for the data set's default.
        epochs: None for the data set's default.
        limit: use only the first so many training images; None for all.
        apart: how far apart two classes lie and how unequal they are; None for more classes, or if not measured.
    """

    data: DataSpec
    input_shape: Shape
    classes: int
    arch: str | None = None
    epochs: int | None = None
    seed: int = 0
    limit: int | None = None
    apart: TwoClasses | None = None

    @property
    def defaults(self) -> Defaults:
        """The data set's suggestions, at the distance of its classes; `mnist:0-8` has those of `mnist`."""
        suggested = DEFAULTS.get(self.data.name.split(":")[0]) or self._usual
        return suggested if self.apart is None or suggested.tried else suggested.near(self.apart.distance)

    @property
    def unequal(self) -> bool:
        """Whether one of two classes is so frequent that a loss over all examples would drown the other."""
        return self.apart is not None and self.apart.majority >= UNEQUAL

    @property
    def _usual(self) -> Defaults:
        """Suggestions for a set that is not in `DEFAULTS`."""
        small = len(self.input_shape) == 1 or self.input_shape[-1] <= 28
        arch = "dense" if small else "conv"
        return Defaults(
            arch=arch,
            epochs=20,
            batch_size=256,
            margin=1.0,
            radius_margin=1.0,
            inverse_temperature=1.0,
            select_eps="0.5",
            adversarial_eps=0.5,
        )


def hkr(task: Task) -> TrainSpec:
    """Hinge-regularised Kantorovich-Rubinstein classifier (paper, §3 and §4): α = 50, m = 1 on images."""
    loss = HKRLossSpec(alpha=50.0, margin=task.defaults.margin)
    return _constrained(task, "hkr", GRADIENT_NORM_PRESERVING, head="unit_rows", loss=loss)


def gnp_hinge(task: Task) -> TrainSpec:
    """Gradient norm preserving, multi-class hinge with a jointly 1-Lipschitz head (Li et al. 2019; GNP_hin)."""
    loss = HingeLossSpec(margin=task.defaults.margin)
    return _constrained(task, "gnp-hinge", GRADIENT_NORM_PRESERVING, head="joint", loss=loss)


def gnp_log(task: Task) -> TrainSpec:
    """Gradient norm preserving with log-entropy (GNP_log)."""
    loss = LogLossSpec(inverse_temperature=task.defaults.inverse_temperature)
    return _constrained(task, "gnp-log", GRADIENT_NORM_PRESERVING, head="unit_rows", loss=loss)


def one_lip_log(task: Task) -> TrainSpec:
    """Björck weights, ReLU and max-pooling with log-entropy, similar to Parseval networks (1LIP_log)."""
    loss = LogLossSpec(inverse_temperature=task.defaults.inverse_temperature)
    return _constrained(task, "1lip-log", RELU, head="unit_rows", loss=loss)


def kr(task: Task) -> TrainSpec:
    """Kantorovich-Rubinstein classifier, centered by Eq. 2 after training; the paper shows that it is sub-optimal."""
    return _constrained(task, "kr", GRADIENT_NORM_PRESERVING, head="unit_rows", loss=KRLossSpec(), center=True)


def margin(task: Task) -> TrainSpec:
    """Exactly orthogonal weights, and a loss on the pairwise certified radius itself: robench's own.

    Its target is the radius of the validation estimate. GroupSort2 everywhere: on dense layers it trains to higher
    accuracy than FullSort in the same number of steps. Orthogonal weights with a tracked polar factor want a lower rate
    than the other constraints.
    """
    defaults = task.defaults
    arch = task.arch or ("dense-512" if defaults.arch == "dense" else None)
    target = epsilon_value(defaults.select_eps)
    return _constrained(
        task,
        "margin",
        PAIR_SORT,
        arch=arch,
        epochs=task.epochs or defaults.radius_epochs or defaults.epochs,
        constraint="polar",
        conv_scheme="orthogonal",
        head="unit_rows",
        loss=PairwiseMarginLossSpec(margin=defaults.radius_margin, count_weight=1.0, target=target, width=target / 5),
        optimizer=OptimizerSpec(lr=1e-2, schedule="one-cycle"),
    )


def adv(task: Task) -> TrainSpec:
    """Adversarial training by L2 projected gradient descent on ReLU layers without constraint (Madry et al. 2018)."""
    return _unconstrained(task, "adv", adversarial=AdversarialSpec(eps=task.defaults.adversarial_eps))


def plain(task: Task) -> TrainSpec:
    """ReLU layers without any constraint, log-entropy: the baseline that nothing certifies."""
    return _unconstrained(task, "plain")


RECIPES: Mapping[str, Callable[[Task], TrainSpec]] = {
    "hkr": hkr,
    "gnp-hinge": gnp_hinge,
    "gnp-log": gnp_log,
    "1lip-log": one_lip_log,
    "adv": adv,
    "plain": plain,
    "kr": kr,
    "margin": margin,
}


ALIASES: Mapping[str, str] = {"standard": "plain"}
"""Other names of recipes; a spec keeps the one in `RECIPES`."""


def recipe_named(name: str) -> Callable[[Task], TrainSpec]:
    """The recipe of that name or alias.

    Raises:
        SpecError: there is none.
    """
    recipe = RECIPES.get(ALIASES.get(name, name))
    if recipe is None:
        raise SpecError(f"unknown recipe `{name}`", hint=did_you_mean(name, [*RECIPES, *ALIASES]))
    return recipe


def build_spec(
    recipe: str,
    *,
    data: DataSpec | str,
    input_shape: Shape,
    classes: int,
    arch: str | None = None,
    epochs: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    apart: TwoClasses | None = None,
) -> TrainSpec:
    """The spec of a recipe on a task.

    Args:
        recipe: a key of `RECIPES`, or of `ALIASES`.
        data: the data set.
        input_shape: of one input: (C, H, W) or (d,).
        classes: number of classes.
        arch: a key of `ARCHITECTURES`, or a .json or .toml layer file; None for the data set's default.
        epochs: None for the data set's default.
        seed: of initial weights and data order.
        limit: use only the first so many training images.
        apart: of two classes, as `data.two_classes` measures it; None for the defaults of classes that lie far apart.
        overrides: dotted path to value, such as `{"loss.alpha": 10.0}`; replaces what the recipe says.

    Raises:
        SpecError: an unknown name or field, or values that do not fit each other.
    """
    make = recipe_named(recipe)
    spec = data if isinstance(data, DataSpec) else DataSpec(name=data)
    task = Task(
        data=spec,
        input_shape=input_shape,
        classes=classes,
        arch=arch,
        epochs=epochs,
        seed=seed,
        limit=limit,
        apart=apart,
    )
    return make(task).override(overrides or {})


def _two_digits(value: float) -> float:
    """Rounded to two significant digits, so that a spec reads well."""
    return float(f"{value:.2g}")


def _constrained(task: Task, recipe: str, style: Style, **fields: Any) -> TrainSpec:
    optimizer = OptimizerSpec(lr=3e-2, schedule="one-cycle")
    fields = {"constraint": "bjorck", "arch": task.arch, "optimizer": optimizer, "balance": task.unequal, **fields}
    return _spec(task, recipe, style, **fields)


def _unconstrained(task: Task, recipe: str, **fields: Any) -> TrainSpec:
    optimizer = OptimizerSpec(lr=2e-3, schedule="one-cycle")
    return _spec(
        task,
        recipe,
        RELU,
        arch=task.arch,
        constraint="none",
        head="none",
        loss=LogLossSpec(),
        optimizer=optimizer,
        **fields,
    )


def _spec(task: Task, recipe: str, style: Style, *, arch: str | None, **fields: Any) -> TrainSpec:
    defaults = task.defaults
    name = arch or defaults.arch
    model = ModelSpec(
        input_shape=task.input_shape,
        classes=task.classes,
        outputs=1 if task.classes == 2 else task.classes,
        layers=architecture(name, task.input_shape, style),
    )
    fields = {"epochs": task.epochs or defaults.epochs, **fields}
    return TrainSpec(
        recipe=recipe,
        arch=name,
        data=task.data,
        limit=task.limit,
        model=model,
        batch_size=defaults.batch_size,
        select_eps=defaults.select_eps,
        seed=task.seed,
        **fields,
    )

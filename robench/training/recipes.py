"""Recipes: plain functions from a task to a full `TrainSpec`, for the classifiers that the paper compares and ours.

Paper, §5: all recipes share the same architectures, and differ in how weights are constrained, what goes between the
layers, and the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from robench.data import TwoClasses
from robench.errors import SpecError, did_you_mean
from robench.models.architectures import GRADIENT_NORM_PRESERVING, PAIR_SORT, RELU, Style, architecture
from robench.specs.data import DataSpec
from robench.specs.epsilon import epsilon_value
from robench.specs.model import ModelSpec, Shape
from robench.specs.training import (
    AdversarialSpec,
    Augmentation,
    Constraint,
    ConvScheme,
    HeadKind,
    HingeLossSpec,
    HKRLossSpec,
    KRLossSpec,
    LogLossSpec,
    LossSpec,
    OptimizerSpec,
    PairwiseLogLossSpec,
    PairwiseMarginLossSpec,
    TrainSpec,
)
from robench.training.defaults import Defaults, defaults_of

UNEQUAL = 0.6
"""Share of the majority from which two classes are made to count alike."""


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
        images: how many there are to train on; None for many.
    """

    data: DataSpec
    input_shape: Shape
    classes: int
    arch: str | None = None
    epochs: int | None = None
    seed: int = 0
    limit: int | None = None
    apart: TwoClasses | None = None
    images: int | None = None

    @property
    def defaults(self) -> Defaults:
        """What suits the data set, its size and the distance of its classes; `mnist:0-8` has what `mnist` has."""
        suggested = defaults_of(self.data.name, self.input_shape)
        if suggested.tried:
            return suggested
        if self.images is not None:
            suggested = suggested.few(self.images)
        return suggested if self.apart is None else suggested.near(self.apart.distance)

    @property
    def unequal(self) -> bool:
        """Whether one of two classes is so frequent that a loss over all examples would drown the other."""
        return self.apart is not None and self.apart.majority >= UNEQUAL


def hkr(task: Task) -> TrainSpec:
    """Hinge-regularised Kantorovich-Rubinstein classifier (paper, §3 and §4): α = 50, m = 1 on images."""
    loss = HKRLossSpec(alpha=50.0, margin=task.defaults.margin)
    return _bjorck(task, "hkr", GRADIENT_NORM_PRESERVING, loss)


def gnp_hinge(task: Task) -> TrainSpec:
    """Gradient norm preserving, multi-class hinge with a jointly 1-Lipschitz head (Li et al. 2019; GNP_hin)."""
    loss = HingeLossSpec(margin=task.defaults.margin)
    return _bjorck(task, "gnp-hinge", GRADIENT_NORM_PRESERVING, loss, head="joint")


def gnp_log(task: Task) -> TrainSpec:
    """Gradient norm preserving with log-entropy (GNP_log)."""
    loss = LogLossSpec(inverse_temperature=task.defaults.inverse_temperature)
    return _bjorck(task, "gnp-log", GRADIENT_NORM_PRESERVING, loss)


def one_lip_log(task: Task) -> TrainSpec:
    """Björck weights, ReLU and max-pooling with log-entropy, similar to Parseval networks (1LIP_log)."""
    loss = LogLossSpec(inverse_temperature=task.defaults.inverse_temperature)
    return _bjorck(task, "1lip-log", RELU, loss)


def kr(task: Task) -> TrainSpec:
    """Kantorovich-Rubinstein classifier, centered by Eq. 2 after training; the paper shows that it is sub-optimal."""
    return _bjorck(task, "kr", GRADIENT_NORM_PRESERVING, KRLossSpec(), center=True)


def margin(task: Task) -> TrainSpec:
    """Exactly orthogonal weights, and a loss on the pairwise certified radius itself: robench's own.

    Its target is the radius of the validation estimate. GroupSort2 everywhere: on dense layers it trains to higher
    accuracy than FullSort in the same number of steps. Orthogonal weights with a tracked polar factor want a lower rate
    than the other constraints.
    """
    defaults = task.defaults
    target = epsilon_value(defaults.select_eps)
    if defaults.mixing:
        return _mixing(task, target)
    return _spec(
        task,
        "margin",
        PAIR_SORT,
        arch=defaults.radius_arch,
        epochs=defaults.radius_epochs,
        batch_size=defaults.radius_batch_size,
        constraint="polar",
        conv_scheme="orthogonal",
        head="unit_rows",
        loss=PairwiseMarginLossSpec(margin=defaults.radius_margin, count_weight=1.0, target=target, width=target / 5),
        balance=task.unequal,
        optimizer=defaults.radius_optimizer,
    )


def _mixing(task: Task, target: float) -> TrainSpec:
    """`margin` where dense layers learn too little: isometric mixing of space and channels, on moved images."""
    return _spec(
        task,
        "margin",
        PAIR_SORT,
        arch=task.defaults.radius_arch,
        epochs=task.defaults.radius_epochs,
        constraint="polar",
        conv_scheme="orthogonal",
        head="unit_rows",
        loss=PairwiseLogLossSpec(offset=round(2 * target, 2), temperature=round(1.25 * target, 2)),
        balance=task.unequal,
        augment="crop-flip",
        optimizer=task.defaults.radius_optimizer,
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
    changes: Mapping[str, Any] | None = None,
    apart: TwoClasses | None = None,
    images: int | None = None,
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
        images: how many there are to train on; None for the defaults of large sets.
        changes: dotted path to value, such as `{"loss.alpha": 10.0}`; replaces what the recipe says.

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
        images=images,
    )
    return make(task).override(changes or {})


def _bjorck(
    task: Task, recipe: str, style: Style, loss: LossSpec, *, head: HeadKind = "unit_rows", center: bool = False
) -> TrainSpec:
    """What the paper's 1-Lipschitz classifiers share."""
    return _spec(
        task,
        recipe,
        style,
        constraint="bjorck",
        head=head,
        loss=loss,
        balance=task.unequal,
        center=center,
        optimizer=OptimizerSpec(lr=3e-2, schedule="one-cycle"),
    )


def _unconstrained(task: Task, recipe: str, *, adversarial: AdversarialSpec | None = None) -> TrainSpec:
    return _spec(
        task,
        recipe,
        RELU,
        constraint="none",
        head="none",
        loss=LogLossSpec(),
        adversarial=adversarial,
        optimizer=OptimizerSpec(lr=2e-3, schedule="one-cycle"),
    )


def _spec(
    task: Task,
    recipe: str,
    style: Style,
    *,
    constraint: Constraint,
    head: HeadKind,
    loss: LossSpec,
    optimizer: OptimizerSpec,
    conv_scheme: ConvScheme = "paper",
    balance: bool = False,
    augment: Augmentation = "none",
    center: bool = False,
    adversarial: AdversarialSpec | None = None,
    arch: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
) -> TrainSpec:
    """A recipe's spec; `arch`, `epochs` and `batch_size` are the recipe's own defaults, where it has some."""
    defaults = task.defaults
    name = task.arch or arch or defaults.arch
    return TrainSpec(
        recipe=recipe,
        arch=name,
        data=task.data,
        limit=task.limit,
        model=ModelSpec(
            input_shape=task.input_shape,
            classes=task.classes,
            outputs=1 if task.classes == 2 else task.classes,
            layers=architecture(name, task.input_shape, style),
        ),
        constraint=constraint,
        conv_scheme=conv_scheme,
        head=head,
        loss=loss,
        balance=balance,
        augment=augment,
        center=center,
        optimizer=optimizer,
        batch_size=batch_size or defaults.batch_size,
        epochs=task.epochs or epochs or defaults.epochs,
        seed=task.seed,
        adversarial=adversarial,
        select_eps=defaults.select_eps,
    )

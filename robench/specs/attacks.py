"""The attacks robench offers, their options and suites, and how options are written on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from robench.errors import SpecError, did_you_mean
from robench.specs.base import Spec

AttackLoss = Literal["cross-entropy", "margin"]


def _at_least(name: str, value: float, low: float) -> None:
    if not value >= low:
        raise SpecError(f"the attack option `{name}` is {value}, below {low:g}", hint=f"give {low:g} or more")


def _above_zero(name: str, value: float) -> None:
    if not value > 0:
        raise SpecError(f"the attack option `{name}` is {value}, not above 0", hint="give a number above 0")


@dataclass(frozen=True, kw_only=True)
class FgsmSpec(Spec):
    """The L2 fast gradient step (foolbox `L2FastGradientAttack`): one step of length ε along the gradient."""

    loss: AttackLoss = "cross-entropy"


@dataclass(frozen=True, kw_only=True)
class PgdSpec(Spec):
    """L2 projected gradient descent (foolbox `L2ProjectedGradientDescentAttack`).

    Fields:
        steps: gradient steps for each ε and restart.
        rel_stepsize: length of a step as a share of ε. foolbox's 0.025 cannot turn a random start to the gradient in
            50 steps (a quarter turn is π/2 ε, 50 steps are 1.25 ε) and was seen to be weaker than one gradient step.
        random_start: start from a uniform draw in the ball of radius ε, not from the image.
        restarts: draws tried for each ε.
        loss: what is ascended, on normalised logits.
    """

    steps: int = 50
    rel_stepsize: float = 0.1
    random_start: bool = True
    restarts: int = 1
    loss: AttackLoss = "cross-entropy"

    def __post_init__(self) -> None:
        """Check the ranges."""
        _at_least("steps", self.steps, 1)
        _at_least("restarts", self.restarts, 1)
        _above_zero("rel_stepsize", self.rel_stepsize)


@dataclass(frozen=True, kw_only=True)
class CwSpec(Spec):
    """Carlini and Wagner's L2 attack (foolbox `L2CarliniWagnerAttack`), stopped image by image.

    The defaults find the curve of foolbox's own (9, 10000, 0.01, 0.001) on Lipschitz nets in a thirtieth of the time.

    Fields:
        binary_search_steps: values of the constant c that are tried.
        steps: Adam steps for each c.
        stepsize: Adam's rate, in arctanh space.
        confidence: margin asked of an adversarial, in normalised logits.
        initial_const: the first c, for normalised logits (slope 1 at the image).
        abort_early: end a c when the image's own loss has not dropped by 0.01 % over a tenth of the steps, and the
            image when its distance rests clearly above the next open ε.
    """

    binary_search_steps: int = 3
    steps: int = 300
    stepsize: float = 0.05
    confidence: float = 0.0
    initial_const: float = 10.0
    abort_early: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        _at_least("binary_search_steps", self.binary_search_steps, 1)
        _at_least("steps", self.steps, 1)
        _at_least("confidence", self.confidence, 0.0)
        _above_zero("stepsize", self.stepsize)
        _above_zero("initial_const", self.initial_const)


@dataclass(frozen=True, kw_only=True)
class DeepFoolSpec(Spec):
    """DeepFool (foolbox `L2DeepFoolAttack` with `loss="logits"`).

    Fields:
        steps: linearisations at most.
        candidates: most likely classes considered.
        overshoot: how far beyond the linearised boundary to go, relative.
    """

    steps: int = 50
    candidates: int = 10
    overshoot: float = 0.02

    def __post_init__(self) -> None:
        """Check the ranges."""
        _at_least("steps", self.steps, 1)
        _at_least("candidates", self.candidates, 2)
        _at_least("overshoot", self.overshoot, 0.0)


@dataclass(frozen=True, kw_only=True)
class DdnSpec(Spec):
    """Decoupled direction and norm (foolbox `DDNAttack`).

    Fields:
        steps: gradient steps.
        init_epsilon: first radius of the sphere, in input units.
        gamma: relative change of the radius in each step.
    """

    steps: int = 100
    init_epsilon: float = 1.0
    gamma: float = 0.05

    def __post_init__(self) -> None:
        """Check the ranges."""
        _at_least("steps", self.steps, 1)
        _above_zero("init_epsilon", self.init_epsilon)
        _above_zero("gamma", self.gamma)


@dataclass(frozen=True, kw_only=True)
class FoolboxFgsmSpec(Spec):
    """foolbox's own `L2FastGradientAttack`."""

    random_start: bool = False


@dataclass(frozen=True, kw_only=True)
class FoolboxPgdSpec(Spec):
    """foolbox's own `L2ProjectedGradientDescentAttack`."""

    steps: int = 50
    rel_stepsize: float = 0.025
    random_start: bool = True


@dataclass(frozen=True, kw_only=True)
class FoolboxCwSpec(Spec):
    """foolbox's own `L2CarliniWagnerAttack`; its defaults take minutes where robench's `cw` takes seconds."""

    binary_search_steps: int = 9
    steps: int = 10000
    stepsize: float = 0.01
    confidence: float = 0.0
    initial_const: float = 0.001
    abort_early: bool = True


@dataclass(frozen=True, kw_only=True)
class FoolboxDeepFoolSpec(Spec):
    """foolbox's own `L2DeepFoolAttack`."""

    steps: int = 50
    candidates: int = 10
    overshoot: float = 0.02


@dataclass(frozen=True, kw_only=True)
class FoolboxDdnSpec(Spec):
    """foolbox's own `DDNAttack`."""

    init_epsilon: float = 1.0
    steps: int = 100
    gamma: float = 0.05


FoolboxOptions = FoolboxFgsmSpec | FoolboxPgdSpec | FoolboxCwSpec | FoolboxDeepFoolSpec | FoolboxDdnSpec
AttackOptions = FgsmSpec | PgdSpec | CwSpec | DeepFoolSpec | DdnSpec | FoolboxOptions

ATTACKS: Mapping[str, type[AttackOptions]] = {
    "deepfool": DeepFoolSpec,
    "fgsm": FgsmSpec,
    "ddn": DdnSpec,
    "pgd": PgdSpec,
    "cw": CwSpec,
    "foolbox-deepfool": FoolboxDeepFoolSpec,
    "foolbox-fgsm": FoolboxFgsmSpec,
    "foolbox-ddn": FoolboxDdnSpec,
    "foolbox-pgd": FoolboxPgdSpec,
    "foolbox-cw": FoolboxCwSpec,
}
"""Every attack, in the order of the cascade: cheap ones first."""

SUITES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "paper": {"deepfool": {}, "fgsm": {}, "pgd": {}, "cw": {}},
    "strong": {"deepfool": {}, "fgsm": {}, "ddn": {}, "pgd": {"restarts": 5, "loss": "margin"}, "cw": {}},
    "foolbox": {"foolbox-deepfool": {}, "foolbox-fgsm": {}, "foolbox-pgd": {}, "foolbox-cw": {}},
}
"""Attacks of each suite with what differs from their defaults."""


def resolve_attacks(suite: str, attacks: Mapping[str, Mapping[str, Any]]) -> dict[str, AttackOptions]:
    """The attacks to run with all their options, in the order of the cascade.

    Args:
        suite: `paper`, `strong` or `foolbox`; gives the attacks where none are named, and their options.
        attacks: names to options that differ.

    Raises:
        SpecError: an unknown suite, attack or option, or a value out of range.
    """
    if suite not in SUITES:
        raise SpecError(f"unknown suite `{suite}`", hint=did_you_mean(suite, SUITES))
    unknown = next((name for name in attacks if name not in ATTACKS), None)
    if unknown is not None:
        raise SpecError(f"unknown attack `{unknown}`", hint=did_you_mean(unknown, ATTACKS))
    chosen = attacks or SUITES[suite]
    return {
        name: options.from_dict({**SUITES[suite].get(name, {}), **chosen[name]})
        for name, options in ATTACKS.items()
        if name in chosen
    }


def parse_attack_option(text: str) -> tuple[str, dict[str, Any]]:
    """Name and options of an attack as written on the command line: `cw:steps=1000,initial_const=10`.

    Raises:
        SpecError: an unknown attack or option, or a value that cannot be read.
    """
    name, _, rest = text.strip().partition(":")
    if name not in ATTACKS:
        raise SpecError(f"unknown attack `{name}`", hint=did_you_mean(name, ATTACKS))
    options: dict[str, Any] = {}
    for part in filter(None, (piece.strip() for piece in rest.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            raise SpecError(f"`{part}` in `{text}` is no option", hint="write `name:option=value,option=value`")
        options[key] = _literal(value)
    ATTACKS[name].from_dict(options)
    return name, options


def parse_attack_options(texts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The repeated `--attack` of a command line as one table; a name given twice is refused.

    Raises:
        SpecError: as `parse_attack_option`, or a name given twice.
    """
    table: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, options = parse_attack_option(text)
        if name in table:
            raise SpecError(f"the attack `{name}` is given twice", hint="give each attack once, with all its options")
        table[name] = options
    return table


def _literal(text: str) -> bool | int | float | str:
    words = {"true": True, "false": False, "yes": True, "no": False}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text

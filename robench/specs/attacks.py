"""The attacks robench offers, their options and suites, and how options are written on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from robench.errors import SpecError, did_you_mean
from robench.specs.base import NonNegativeFloat, PositiveFloat, PositiveInt, Range, Spec, from_plain

DeepFoolLoss = Literal["logits", "crossentropy"]


@dataclass(frozen=True, kw_only=True)
class FgsmSpec(Spec):
    """The L2 fast gradient step (foolbox `L2FastGradientAttack`): one step of length ε along the gradient."""


@dataclass(frozen=True, kw_only=True)
class PgdSpec(Spec):
    """L2 projected gradient descent (foolbox `L2ProjectedGradientDescentAttack`).

    Fields:
        steps: gradient steps for each ε and restart.
        rel_stepsize: length of a step as a share of ε. foolbox's 0.025 cannot turn a random start to the gradient in
            50 steps (a quarter turn is π/2 ε, 50 steps are 1.25 ε) and was seen to be weaker than one gradient step.
        abs_stepsize: length of a step in input units, instead of a share of ε.
        random_start: start from a uniform draw in the ball of radius ε, not from the image.
        restarts: draws tried for each ε, up to the first success; not an option of foolbox, which is called once each.
    """

    steps: PositiveInt = 50
    rel_stepsize: PositiveFloat = 0.1
    abs_stepsize: PositiveFloat | None = None
    random_start: bool = True
    restarts: PositiveInt = 1


@dataclass(frozen=True, kw_only=True)
class CwSpec(Spec):
    """Carlini and Wagner's L2 attack (foolbox `L2CarliniWagnerAttack`, without its stop by the loss of the batch).

    One constant serves where logits have slope about 1 at the image. With the refinement along the boundary that
    follows, 300 steps of it found the curve of three constants (docs/design/0005-attacks.md).

    Fields:
        binary_search_steps: values of the constant c that are tried.
        steps: Adam steps for each c.
        stepsize: Adam's rate, in arctanh space.
        confidence: margin asked of an adversarial, in normalised logits.
        initial_const: the first c, for normalised logits (slope about 1 at the image).
    """

    binary_search_steps: PositiveInt = 1
    steps: PositiveInt = 300
    stepsize: PositiveFloat = 0.05
    confidence: NonNegativeFloat = 0.0
    initial_const: PositiveFloat = 6.0


@dataclass(frozen=True, kw_only=True)
class DeepFoolSpec(Spec):
    """DeepFool (foolbox `L2DeepFoolAttack`).

    Fields:
        steps: linearisations at most.
        candidates: most likely classes considered.
        overshoot: how far beyond the linearised boundary to go, relative.
        loss: what is linearised, the logits or their cross-entropy.
    """

    steps: PositiveInt = 50
    candidates: Annotated[int, Range(smallest=2)] = 10
    overshoot: NonNegativeFloat = 0.02
    loss: DeepFoolLoss = "logits"


@dataclass(frozen=True, kw_only=True)
class ApgdCeSpec(Spec):
    """APGD on cross-entropy (adv-lib `apgd`; Croce & Hein, arXiv 2003.01690).

    Fields:
        steps: gradient steps for each ε and restart.
        restarts: random starts tried for each ε.
    """

    steps: PositiveInt = 100
    restarts: PositiveInt = 1


@dataclass(frozen=True, kw_only=True)
class ApgdTSpec(Spec):
    """APGD on the targeted difference-of-logits ratio (adv-lib `apgd`; Croce & Hein, arXiv 2003.01690).

    Fields:
        steps: gradient steps for each ε, target and restart.
        targets: likeliest other classes that are tried.
        restarts: random starts tried for each ε and target.
    """

    steps: PositiveInt = 100
    targets: PositiveInt = 9
    restarts: PositiveInt = 1


@dataclass(frozen=True, kw_only=True)
class FabSpec(Spec):
    """The fast adaptive boundary attack (adv-lib `fab`; Croce & Hein, arXiv 1907.02044).

    Fields:
        steps: steps of each run.
        restarts: runs: the first starts at the image, the others at random; with `targeted`, one for each of as many
            likeliest other classes.
        targeted: each run looks at one other class only, which is cheaper for many classes.
    """

    steps: PositiveInt = 100
    restarts: PositiveInt = 1
    targeted: bool = False


@dataclass(frozen=True, kw_only=True)
class DdnSpec(Spec):
    """Decoupled direction and norm (adv-lib `ddn`; Rony et al., arXiv 1811.09600).

    Fields:
        steps: gradient steps.
        init_norm: first radius of the sphere, in input units.
    """

    steps: PositiveInt = 100
    init_norm: PositiveFloat = 1.0


@dataclass(frozen=True, kw_only=True)
class SquareSpec(Spec):
    """Square, a random search that needs no gradient (ART `SquareAttack`; Andriushchenko et al., arXiv 1912.00049).

    Fields:
        queries: changes tried for each ε and restart.
        p_init: share of the pixels that the first changes take.
        restarts: searches for each ε.
    """

    queries: PositiveInt = 5000
    p_init: PositiveFloat = 0.8
    restarts: PositiveInt = 1


FoolboxOptions = FgsmSpec | PgdSpec | CwSpec | DeepFoolSpec
AdvlibOptions = ApgdCeSpec | ApgdTSpec | FabSpec | DdnSpec
AttackOptions = FoolboxOptions | AdvlibOptions | SquareSpec

ATTACKS: Mapping[str, type[AttackOptions]] = {
    "deepfool": DeepFoolSpec,
    "fgsm": FgsmSpec,
    "ddn": DdnSpec,
    "pgd": PgdSpec,
    "apgd-ce": ApgdCeSpec,
    "cw": CwSpec,
    "fab": FabSpec,
    "apgd-t": ApgdTSpec,
    "square": SquareSpec,
}
"""Every attack, in the order of the ensemble: cheap ones first."""

SUITES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "paper": {"deepfool": {}, "fgsm": {}, "pgd": {}, "cw": {}},
    "strong": {
        "deepfool": {},
        "fgsm": {},
        "ddn": {},
        "pgd": {},
        "apgd-ce": {"restarts": 3},
        "cw": {},
        "fab": {"restarts": 3},
        "apgd-t": {},
    },
    "autoattack": {"apgd-ce": {}, "apgd-t": {}, "fab": {"targeted": True, "restarts": 9}, "square": {}},
}
"""Attacks of each suite with what differs from their defaults."""


def resolve_attacks(suite: str, attacks: Mapping[str, Mapping[str, Any]]) -> dict[str, AttackOptions]:
    """The attacks to run with all their options, in the order of the ensemble.

    Args:
        suite: `paper` or `strong`; gives the attacks where none are named, and their options.
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
        name: from_plain(options, {**SUITES[suite].get(name, {}), **chosen[name]}, name)
        for name, options in ATTACKS.items()
        if name in chosen
    }


def check_radii(suite: object, eps: Sequence[str]) -> None:
    """Refuse a suite that is defined at one ε where several are asked.

    Raises:
        SpecError: that is so.
    """
    if suite == "autoattack" and len(eps) != 1:
        raise SpecError(
            f"the suite `autoattack` is defined at one ε, and {len(eps)} are asked",
            hint="give one ε, such as 0.5, or choose the suite `strong`",
        )


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
    from_plain(ATTACKS[name], options, name)
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

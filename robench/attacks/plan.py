"""What an ensemble runs: radii, and attacks with their options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from robench.attacks import advlib_attacks, foolbox_attacks
from robench.attacks.claims import Attack
from robench.attacks.square_attack import Square
from robench.specs.attacks import AdvlibOptions, AttackOptions, SquareSpec
from robench.specs.epsilon import epsilon_value
from robench.specs.evaluation import AttackSpec


@dataclass(frozen=True)
class AttackPlan:
    """What an ensemble runs.

    Fields:
        eps: the radii as written and their values, ascending.
        attacks: by name, in the order in which they run.
        full: every attack sees every image that is not certified everywhere.
    """

    eps: Mapping[str, float]
    attacks: Mapping[str, Attack]
    full: bool


def planned(spec: AttackSpec, bounds: tuple[float, float]) -> AttackPlan:
    """The plan of a spec for inputs within `bounds`.

    Raises:
        SpecError: a library that has one of the attacks is not installed.
    """
    attacks = {name: build(options, bounds, spec.seed) for name, options in spec.resolved().items()}
    return AttackPlan({text: epsilon_value(text) for text in spec.eps}, attacks, spec.full)


def build(options: AttackOptions, bounds: tuple[float, float], seed: int) -> Attack:
    """The attack with these options.

    Args:
        options: of one attack.
        bounds: the box of valid inputs.
        seed: of the random starts.

    Raises:
        SpecError: the library that has the attack is not installed.
    """
    if isinstance(options, AdvlibOptions):
        return advlib_attacks.build(options, bounds, seed)
    if isinstance(options, SquareSpec):
        return Square(options, bounds, seed)
    return foolbox_attacks.build(options, bounds, seed)

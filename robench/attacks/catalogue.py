"""Attack options to attacks."""

from __future__ import annotations

from robench.attacks import advlib_attacks, foolbox_attacks
from robench.attacks.claims import Attack
from robench.attacks.square_attack import Square
from robench.specs.attacks import AdvlibOptions, AttackOptions, SquareSpec


def build(options: AttackOptions, bounds: tuple[float, float], seed: int) -> Attack:
    """The attack with these options on inputs within `bounds`.

    Raises:
        SpecError: the library that has the attack is not installed.
    """
    if isinstance(options, AdvlibOptions):
        return advlib_attacks.build(options, bounds, seed)
    if isinstance(options, SquareSpec):
        return Square(options, bounds, seed)
    return foolbox_attacks.build(options, bounds, seed)

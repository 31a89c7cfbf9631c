"""Which attacks to run: a suite, names with options, foolbox objects, functions, or a mixture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robench.attacks.claims import Attack
from robench.attacks.given import of_object
from robench.attacks.plan import build
from robench.errors import SpecError
from robench.specs.attacks import SUITES, parse_attack_options, resolve_attacks

AttackChoice = str | Sequence[Any]
"""A suite, or attacks: names with options, such as `pgd:steps=100`, `foolbox.attacks` objects and functions."""


def chosen(choice: AttackChoice, bounds: tuple[float, float], seed: int) -> dict[str, Attack]:
    """The attacks by name: those with a name of robench in the order of the ensemble, then the others as given.

    A name that is taken gets a number: `noise`, `noise-2`.

    Raises:
        SpecError: there is none, or one is unknown, no attack, or not in L2.
    """
    if isinstance(choice, str) and choice in SUITES:
        resolved = resolve_attacks(choice, {})
        return {name: build(options, bounds, seed) for name, options in resolved.items()}
    items = [choice] if isinstance(choice, str) or callable(choice) else _listed(choice)
    named = parse_attack_options(item for item in items if isinstance(item, str))
    resolved = resolve_attacks("paper", named) if named else {}
    attacks = {name: build(options, bounds, seed) for name, options in resolved.items()}
    for item in items:
        if not isinstance(item, str):
            name, attack = of_object(item, bounds, seed)
            attacks[_free(name, attacks)] = attack
    return attacks


def _listed(choice: Any) -> list[Any]:
    if not isinstance(choice, Sequence) or not len(choice):
        raise SpecError(
            f"no attacks are given by {choice!r}",
            hint=f"give a suite ({', '.join(SUITES)}), or a list of names, `foolbox.attacks` objects and functions",
        )
    return list(choice)


def _free(name: str, taken: dict[str, Attack]) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free

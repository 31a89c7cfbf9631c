"""Which attacks to run: a suite, names with options, foolbox objects, functions, or a mixture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robench.attacks.claims import Attack
from robench.attacks.given import of_object
from robench.attacks.plan import build
from robench.errors import SpecError, did_you_mean
from robench.specs.attacks import ATTACKS, SUITES, AttackOptions, parse_attack_options, resolve_attacks

AttackChoice = str | Sequence[Any]
"""A suite, or attacks: names with options, such as `pgd:steps=100`, `foolbox.attacks` objects and functions."""


def chosen(choice: AttackChoice, bounds: tuple[float, float], seed: int) -> dict[str, Attack]:
    """The attacks by name: those with a name of robench in the order of the ensemble, then the others as given.

    A name that is taken gets a number: `noise`, `noise-2`.

    Args:
        choice: names or objects of attacks, or one suite.
        bounds: least and largest value of an input.
        seed: of random starts.

    Raises:
        SpecError: there is none, or one is unknown, no attack, or not in L2.
    """
    items = _listed(choice)
    attacks = {name: build(options, bounds, seed) for name, options in _resolved(choice, items).items()}
    for item in items:
        if not isinstance(item, str):
            name, attack = of_object(item, bounds, seed)
            attacks[_free(name, attacks)] = attack
    return attacks


def _resolved(choice: AttackChoice, items: Sequence[Any]) -> dict[str, AttackOptions]:
    """The attacks that are given by a suite or by names."""
    if isinstance(choice, str):
        if choice in SUITES:
            return resolve_attacks(choice, {})
        if choice.partition(":")[0].strip() not in ATTACKS:
            raise SpecError(f"unknown attack or suite `{choice}`", hint=did_you_mean(choice, [*SUITES, *ATTACKS]))
    named = parse_attack_options(item for item in items if isinstance(item, str))
    return resolve_attacks("paper", named) if named else {}


def _listed(choice: AttackChoice) -> list[Any]:
    if isinstance(choice, str) or callable(choice):
        return [choice]
    if not isinstance(choice, Sequence) or not len(choice):
        raise SpecError(
            f"{choice!r} names no attacks",
            hint=f"give a suite ({', '.join(SUITES)}), or a list of names, `foolbox.attacks` objects and functions",
        )
    return list(choice)


def _free(name: str, taken: dict[str, Attack]) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free

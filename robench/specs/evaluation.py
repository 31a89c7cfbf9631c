"""What `certify` and `attack` compute: everything that decides a record, and nothing else.

How many images (`limit`), batch size, device and number of workers are not here: they decide when a record is
computed, not what it says, so a run can be continued with other values of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from robench.specs.attacks import AttackOptions, check_radii, resolve_attacks
from robench.specs.base import NonNegativeInt, Spec
from robench.specs.data import DataSpec, Split
from robench.specs.epsilon import epsilon_value

DeployDtype = Literal["float64", "float32"]
ExtraRule = Literal["local"]
"""Rules of certification that run only where they are asked for: they take their time."""
SuiteName = Literal["paper", "strong", "autoattack"]


@dataclass(frozen=True, kw_only=True)
class CertifySpec(Spec):
    """Certificates of a model on a split.

    Fields:
        data: which images.
        split: part of the data set.
        deploy_dtype: arithmetic of the deployed model that the certificate speaks of; `float32` subtracts a bound of
            the float32 forward error as well.
        rules: rules beyond those that are always there.
        box: least and greatest value of an entry of the inputs that the certificates speak of; None for all inputs.
    """

    data: DataSpec
    split: Split = "test"
    deploy_dtype: DeployDtype = "float64"
    rules: tuple[ExtraRule, ...] = ()
    box: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class AttackSpec(Spec):
    """Attacks on a model on a split.

    Fields:
        data: which images.
        split: part of the data set.
        eps: L2 radii in input units, as written by the user, ascending.
        suite: gives the attacks where none are named, and their options.
        attacks: names of attacks to their options; empty means the suite's.
        full: run every attack on every image that is not certified, not only on what is still open.
        seed: of the random starts, drawn image by image from (seed, index).

    The options are filled in with their defaults, so that a run records all of them.
    """

    data: DataSpec
    split: Split = "test"
    eps: tuple[str, ...]
    suite: SuiteName = "paper"
    attacks: dict[str, dict[str, Any]] = field(default_factory=dict)
    full: bool = False
    seed: NonNegativeInt = 0

    def __post_init__(self) -> None:
        """Check radii and attacks; fill in the options."""
        super().__post_init__()
        for text in self.eps:
            epsilon_value(text)
        if not self.attacks:
            check_radii(self.suite, self.eps)
        filled = {name: options.to_dict() for name, options in self.resolved().items()}
        object.__setattr__(self, "attacks", filled)

    def resolved(self) -> dict[str, AttackOptions]:
        """The attacks with all their options, in the order of the ensemble.

        Raises:
            SpecError: an unknown attack or option, or a value out of range.
        """
        return resolve_attacks(self.suite, self.attacks)

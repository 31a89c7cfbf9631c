"""Rules that prove a radius image by image, beyond what the constants of the bound prove of all images.

A rule is one entry of `IMAGE_RULES`: its name, one of `robench.records.record.RULES`, and a function that makes an
`ImageRule` of a network. `robench certify --rule NAME` and `certify(..., rules=["NAME"])` then run it on each batch.
Records, summaries, tables, figures, data frames and the crosscheck show what it proves; nothing else is to be changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Protocol

import numpy as np
from jaxtyping import Float32, Float64
from torch import nn

from robench.arrays import Array, Singles
from robench.certificates.local import Local
from robench.certificates.radii import Radii
from robench.errors import BoundError
from robench.lipschitz import LipschitzBound
from robench.records.record import RULES, Rule
from robench.specs.evaluation import DeployDtype


class ImageRule(Protocol):
    """What a rule proves of a batch of images."""

    def __call__(
        self, inputs: Float32[Singles, "n ..."], logits: Float64[Array, "n q"], found: Radii
    ) -> Float64[Array, " n"]:
        """Radii within which no input has another class than `found.predicted`, rounded down; 0 where none is proven.

        The rounding error of the deployed network is subtracted, also where it grows with the radius (`radii`). The
        caller takes the larger of these radii and of those in `found`, and withdraws all of an image to which the
        deployed float32 network gives another class.

        Args:
            inputs: images.
            logits: of the float64 network.
            found: what the constants prove: classes, margins after the rounding error, and radii by each rule.
        """


IMAGE_RULES: dict[Rule, Callable[[nn.Module, LipschitzBound, DeployDtype], ImageRule]] = {"local": Local}
"""By name: what makes the rule ready for a float64 network, its bound, and the arithmetic of the deployed network."""


def image_rules(
    names: Collection[str], network: nn.Module, bound: LipschitzBound, deploy_dtype: DeployDtype
) -> dict[Rule, ImageRule]:
    """The rules that run on each batch, ready, of all that were asked for, in the order of `RULES`.

    Args:
        names: rules asked for. Those of the bound itself, such as `pairwise`, need nothing here.
        network: float64.
        bound: of the network.
        deploy_dtype: arithmetic of the deployed network.

    Raises:
        BoundError: the model has none of that name.
    """
    for name in names:
        if name not in IMAGE_RULES and name not in bound.rules:
            raise BoundError(f"there is no rule `{name}` for this model", hint=f"it has {', '.join(bound.rules)}")
    return {
        rule: IMAGE_RULES[rule](network, bound, deploy_dtype) for rule in RULES if rule in IMAGE_RULES.keys() & {*names}
    }


def proven_by(rule: Rule, found: Radii, radii: Float64[Array, " n"]) -> Radii:
    """What is found, and the radii of one more rule: never below those before it, and 0 without a margin.

    Args:
        rule: its name.
        found: what the rules before it prove.
        radii: what it proves by itself.
    """
    largest = np.max(list(found.by_rule.values()), axis=0)
    more = np.where(found.margin > 0, np.maximum(radii, largest), 0.0)
    return dataclasses.replace(found, by_rule={**found.by_rule, rule: more})

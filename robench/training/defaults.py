"""What each data set suggests for the settings of recipes, and how that is scaled where two classes lie near."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from robench.specs.epsilon import epsilon_value
from robench.specs.model import Shape
from robench.specs.training import OptimizerSpec

LEAST_STEPS, FEW_STEPS, SMALL_BATCH, MOST_EPOCHS = 600, 20, 64, 200
"""Of a training; steps of an epoch below which batches are small; images of such a batch; epochs at most."""


class Defaults(NamedTuple):
    """What a data set suggests where the user says nothing.

    Fields:
        arch: architecture.
        epochs, batch_size: so that two cores need seconds for the embedded sets and minutes for MNIST.
        margin: m of the hinge terms, in input units: the paper's 1 where classes lie that far apart, less where not.
        radius_margin: m of the recipe `margin`; somewhat above the radius to be certified, `select_eps`.
        radius_arch, radius_epochs, radius_batch_size: architecture, epochs and batch of the recipe `margin`; None for
            those of the other recipes.
        radius_optimizer: of the recipe `margin` (docs/design/0028).
        mixing: whether the recipe `margin` trains shifts and 1x1 convolutions on moved images, by log-entropy of the
            radii; else dense layers, by a hinge (docs/design/0025).
        inverse_temperature: of log-entropy under a constraint: the paper's 1 where logits span several units, or more.
        select_eps: L2 radius of the validation estimate.
        adversarial_eps: L2 radius of adversarial training.
        tried: whether the values were tried on this very set; else lengths are lowered where two classes lie nearer,
            and steps raised where there are few images.
    """

    arch: str
    epochs: int = 20
    batch_size: int = 256
    margin: float = 1.0
    radius_margin: float = 1.0
    inverse_temperature: float = 1.0
    select_eps: str = "0.5"
    adversarial_eps: float = 0.5
    radius_arch: str | None = None
    radius_epochs: int | None = None
    radius_batch_size: int | None = None
    radius_optimizer: OptimizerSpec = OptimizerSpec(name="muon", lr=2e-2, weight_decay=0.5, schedule="one-cycle")
    mixing: bool = False
    tried: bool = False

    def few(self, images: int) -> Defaults:
        """The same for a small set: batches and epochs such that there are enough steps to learn from it.

        `robench.train("hkr", x, y)` on the 1258 images of `digits`: 44 % are right after 100 steps, 93 % after 620.
        """
        batch_size = self.batch_size if images >= FEW_STEPS * self.batch_size else min(self.batch_size, SMALL_BATCH)
        least = min(MOST_EPOCHS, math.ceil(LEAST_STEPS * batch_size / images))
        radius_epochs = None if self.radius_epochs is None else max(self.radius_epochs, least)
        return self._replace(batch_size=batch_size, epochs=max(self.epochs, least), radius_epochs=radius_epochs)

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


DEFAULTS: Mapping[str, Defaults] = {
    "two-moons": Defaults(
        arch="dense-small",
        epochs=40,
        margin=0.3,
        radius_margin=0.3,
        inverse_temperature=10.0,
        select_eps="0.2",
        adversarial_eps=0.2,
        tried=True,
    ),
    "digits": Defaults(arch="dense-small", epochs=40, batch_size=128, margin=0.7, radius_margin=1.5, tried=True),
    "mnist": Defaults(
        arch="dense",
        epochs=10,
        radius_margin=2.3,
        radius_arch="dense-512-deep",
        radius_epochs=80,
        radius_batch_size=1000,
        select_eps="1.58",
        adversarial_eps=1.5,
        tried=True,
    ),
    "fashion-mnist": Defaults(arch="dense", epochs=10, radius_arch="dense-512", radius_margin=1.5, adversarial_eps=1.0),
    "cifar10": Defaults(
        arch="cifar",
        epochs=60,
        radius_arch="shift",
        radius_epochs=40,
        radius_optimizer=OptimizerSpec(name="muon", lr=5e-3, weight_decay=0.5, schedule="one-cycle"),
        radius_margin=0.6,
        mixing=True,
        select_eps="36/255",
    ),
    "celeba": Defaults(
        arch="celeba", epochs=30, batch_size=128, radius_margin=3.0, select_eps="1", adversarial_eps=1.0
    ),
}


def defaults_of(name: str, input_shape: Shape) -> Defaults:
    """Suggestions for a data set; `mnist:0-8` has those of `mnist`, and a set of one's own those that are usual."""
    small = len(input_shape) == 1 or input_shape[-1] <= 28
    dense = Defaults(arch="dense", radius_arch="dense-512")
    return DEFAULTS.get(name.split(":")[0]) or (dense if small else Defaults(arch="conv"))


def _two_digits(value: float) -> float:
    """Rounded to two significant digits, so that a spec reads well."""
    return float(f"{value:.2g}")

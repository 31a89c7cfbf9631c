"""Square, a black-box attack by random search (Andriushchenko et al., arXiv 1912.00049), as ART runs it.

ART draws from numpy's and Python's global generators, for a whole batch. Here each image is attacked alone, with the
generators set from the seed and the image, and given back afterwards.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch

from robench.attacks.claims import by_radius
from robench.attacks.classifier import Classifier
from robench.attacks.examples import Claims, Examples, joined
from robench.attacks.library_model import ScaledModel
from robench.attacks.starts import seeded
from robench.errors import SpecError
from robench.specs.attacks import SquareSpec

SMALLEST = 15
"""Sides of an image from which on ART's starting pattern, five tiles a side, has more than two pixels a tile."""


class Square:
    """The attack, one image and one ε after the other.

    Args:
        options: of the attack.
        bounds: the box of valid inputs.
        seed: of its draws.
    """

    def __init__(self, options: SquareSpec, bounds: tuple[float, float], seed: int) -> None:
        self._options, self._bounds, self._seed = options, bounds, seed
        _art("art.attacks.evasion.square_attack")

    def run(self, classifier: Classifier, examples: Examples) -> Claims:
        """Attack each image at the radii that it asks (`claims.by_radius`).

        Raises:
            SpecError: the inputs are no images of at least 15 x 15 pixels.
        """
        shape = classifier.input_shape
        if len(shape) != 3 or min(shape[1:]) < SMALLEST or shape[1] != shape[2]:
            raise SpecError(
                f"the attack `square` needs square images of at least {SMALLEST} pixels a side, not {shape}",
                hint="choose the suite `strong`, or name attacks without `square`",
            )

        def attempt(rows: Examples, epsilon: float, restart: int) -> Claims:
            alone = (rows.rows(slice(row, row + 1)) for row in range(len(rows)))
            return joined([self._attempt(classifier, image, epsilon, restart) for image in alone])

        return by_radius(examples, self._options.restarts, attempt)

    def _attempt(self, classifier: Classifier, image: Examples, epsilon: float, restart: int) -> Claims:
        model = ScaledModel(classifier, image.scale)
        estimator = _art("art.estimators.classification").PyTorchClassifier(
            model,
            loss=torch.nn.CrossEntropyLoss(),
            input_shape=classifier.input_shape,
            nb_classes=classifier.classes,
            clip_values=self._bounds,
            device_type="gpu" if classifier.device.type == "cuda" else "cpu",
        )
        attack = _art("art.attacks.evasion.square_attack").SquareAttack(
            estimator, norm=2, eps=epsilon, max_iter=self._options.queries, p_init=self._options.p_init,
            nb_restarts=1, batch_size=1, verbose=False,
        )  # fmt: skip
        x, label = image.x.cpu().numpy(), image.label.cpu().numpy()
        # ART divides by the norm of what it may still change, which can be 0; such a candidate is never better
        with seeded(self._seed, int(image.index), restart), np.errstate(divide="ignore", invalid="ignore"):
            point = torch.from_numpy(attack.generate(x, np.eye(classifier.classes)[label])).to(image.x)
        with torch.no_grad():
            found = model(point).argmax(dim=1) != image.label
        return Claims(point, found)


def _art(name: str) -> Any:
    """A module of ART, imported when it is needed.

    Raises:
        SpecError: ART is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise SpecError(
            "the attack `square` needs the adversarial-robustness-toolbox, which is not installed",
            hint="pip install 'robench[strong]'",
        ) from None

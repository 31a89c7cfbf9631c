"""foolbox's own attacks (Rauber et al. 2017, 2020), run so that what they find depends on the image alone.

foolbox runs a batch in lockstep. Around it: batches of fixed size; starts drawn image by image; a fixed-ε attack called
ε by ε, ascending, on the images for which it has found nothing yet; no stop that sums over the batch; and a failed
Carlini-Wagner, for which foolbox returns an all-zero image, is a failure.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from torch import Tensor

from robench.attacks.claims import Attack, FixedEpsilonAttack, MinimumNormAttack
from robench.attacks.classifier import Classifier
from robench.attacks.examples import Claims, Examples
from robench.attacks.library_model import ScaledModel
from robench.attacks.starts import starts
from robench.specs.attacks import DeepFoolSpec, FgsmSpec, FoolboxOptions, PgdSpec


class FixedEpsilon(FixedEpsilonAttack):
    """A foolbox attack that looks for an adversarial within one ε.

    Args:
        attack: a `foolbox.attacks` object.
        bounds: the box of valid inputs.
    """

    def __init__(self, attack: Any, bounds: tuple[float, float]) -> None:
        self._attack, self._bounds = attack, bounds

    def attempt(self, classifier: Classifier, tile: Examples, epsilon: float, attempted: int) -> Claims:
        """Call foolbox with one ε."""
        _, point, hit = self._attack(_model(classifier, tile, self._bounds), tile.x, tile.label, epsilons=epsilon)
        return Claims(point, hit)


class RandomStart(FixedEpsilon):
    """PGD from uniform draws in the ball of radius ε, which depend on the seed and the image alone.

    Args:
        options: of PGD; its restarts are not an option of foolbox, which is called once each.
        bounds: the box of valid inputs.
        seed: of the draws.
    """

    def __init__(self, options: PgdSpec, bounds: tuple[float, float], seed: int) -> None:
        super().__init__(_started()(**_foolbox_options(options)), bounds)
        self._restarts, self._seed = options.restarts, seed

    def attempts(self, classifier: Classifier) -> int:
        """One for each start."""
        return self._restarts

    def attempt(self, classifier: Classifier, tile: Examples, epsilon: float, attempted: int) -> Claims:
        """Call foolbox with one ε, from another start each time."""
        draws = starts(self._seed, tile.index, attempted + 1, tile.x)[attempted]
        self._attack.start = tile.x + epsilon * draws
        return super().attempt(classifier, tile, epsilon, attempted)


class MinimumNorm(MinimumNormAttack):
    """A foolbox attack that looks for the nearest adversarial, whatever the ε.

    Args:
        attack: a `foolbox.attacks` object.
        bounds: the box of valid inputs.
    """

    def __init__(self, attack: Any, bounds: tuple[float, float]) -> None:
        self._attack, self._bounds = attack, bounds

    def attempt(self, classifier: Classifier, tile: Examples) -> Claims:
        """Call foolbox without an ε."""
        point, _, hit = self._attack(_model(classifier, tile, self._bounds), tile.x, tile.label, epsilons=None)
        failed = (point == 0).flatten(1).all(dim=1)  # how Carlini-Wagner says that it found nothing
        return Claims(point, hit & ~failed)


def build(options: FoolboxOptions, bounds: tuple[float, float], seed: int) -> Attack:
    """Build foolbox's attack with these options.

    Args:
        options: of one attack.
        bounds: the box of valid inputs.
        seed: of the random starts.
    """
    attacks, given = foolbox().attacks, _foolbox_options(options)
    if isinstance(options, PgdSpec):
        if options.random_start:
            return RandomStart(options, bounds, seed)
        return FixedEpsilon(attacks.L2ProjectedGradientDescentAttack(**given), bounds)
    if isinstance(options, FgsmSpec):
        return FixedEpsilon(attacks.L2FastGradientAttack(**given), bounds)
    if isinstance(options, DeepFoolSpec):
        return MinimumNorm(attacks.L2DeepFoolAttack(**given), bounds)
    # `abort_early` stops the whole batch by its summed loss
    return MinimumNorm(attacks.L2CarliniWagnerAttack(**given, abort_early=False), bounds)


def _foolbox_options(options: FoolboxOptions) -> dict[str, Any]:
    return {name: value for name, value in options.to_dict().items() if name != "restarts"}


def _model(classifier: Classifier, tile: Examples, bounds: tuple[float, float]) -> Any:
    return foolbox().PyTorchModel(ScaledModel(classifier, tile.scale), bounds=bounds, device=classifier.device)


def _started() -> Any:
    """The L2-PGD of foolbox, which starts where `start` says instead of where torch's global generator does."""

    class StartedProjectedGradientDescent(foolbox().attacks.L2ProjectedGradientDescentAttack):  # type: ignore[misc]
        start: Tensor

        def get_random_start(self, x0: Any, epsilon: float) -> Any:
            """The start of each image."""
            return type(x0)(self.start)

    return StartedProjectedGradientDescent


def foolbox() -> Any:
    """Import foolbox, when it is needed; its import of a renamed scipy module is no news to the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module("foolbox")

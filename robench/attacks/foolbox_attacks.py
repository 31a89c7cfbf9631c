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

from robench.attacks.claims import Claims, by_radius, in_tiles
from robench.attacks.classifier import Classifier
from robench.attacks.library_model import LibraryModel
from robench.attacks.rows import State
from robench.attacks.starts import starts
from robench.specs.attacks import DeepFoolSpec, FgsmSpec, FoolboxOptions, PgdSpec


class FixedEpsilon:
    """A foolbox attack that is asked for an adversarial within one ε.

    Args:
        attack: a `foolbox.attacks` object; with `restarts`, one that starts where its attribute `start` says.
        bounds: the box of valid inputs.
        seed: of the random starts.
        restarts: starts tried for each ε; 0 for an attack that draws none.
    """

    def __init__(self, attack: Any, bounds: tuple[float, float], seed: int = 0, restarts: int = 0) -> None:
        self._attack, self._bounds, self._seed, self._restarts = attack, bounds, seed, restarts

    def run(self, classifier: Classifier, jobs: State) -> Claims:
        """Attack each image at the radii that it asks (`claims.by_radius`)."""

        def attempt(rows: State, epsilon: float, restart: int) -> Claims:
            return in_tiles(classifier, rows, lambda tile: self._attempt(classifier, tile, epsilon, restart))

        return by_radius(jobs, max(1, self._restarts), attempt)

    def _attempt(self, classifier: Classifier, tile: State, epsilon: float, restart: int) -> Claims:
        if self._restarts:
            self._attack.start = (
                tile["x"] + epsilon * starts(self._seed, tile["index"], restart + 1, tile["x"])[restart]
            )
        model = _model(classifier, tile, self._bounds)
        _, point, hit = self._attack(model, tile["x"], tile["label"], epsilons=epsilon)
        return Claims(point, hit)


class MinimumNorm:
    """A foolbox attack that looks for the nearest adversarial, whatever the ε.

    Args:
        attack: a `foolbox.attacks` object.
        bounds: the box of valid inputs.
    """

    def __init__(self, attack: Any, bounds: tuple[float, float]) -> None:
        self._attack, self._bounds = attack, bounds

    def run(self, classifier: Classifier, jobs: State) -> Claims:
        """Attack each image once."""
        return in_tiles(classifier, jobs, lambda tile: self._attempt(classifier, tile))

    def _attempt(self, classifier: Classifier, tile: State) -> Claims:
        model = _model(classifier, tile, self._bounds)
        point, _, hit = self._attack(model, tile["x"], tile["label"], epsilons=None)
        failed = (point == 0).flatten(1).all(dim=1)  # how Carlini-Wagner says that it found nothing
        return Claims(point, hit & ~failed)


def _model(classifier: Classifier, tile: State, bounds: tuple[float, float]) -> Any:
    return foolbox().PyTorchModel(LibraryModel(classifier, tile["scale"]), bounds=bounds, device=classifier.device)


def build(options: FoolboxOptions, bounds: tuple[float, float], seed: int) -> FixedEpsilon | MinimumNorm:
    """Build foolbox's attack with these options on inputs within `bounds`."""
    attacks = foolbox().attacks
    if isinstance(options, FgsmSpec):
        return FixedEpsilon(attacks.L2FastGradientAttack(), bounds)
    if isinstance(options, PgdSpec):
        plain = {name: value for name, value in options.to_dict().items() if name != "restarts"}
        return FixedEpsilon(_started()(**plain), bounds, seed, options.restarts if options.random_start else 0)
    if isinstance(options, DeepFoolSpec):
        return MinimumNorm(attacks.L2DeepFoolAttack(**options.to_dict()), bounds)
    # `abort_early` stops the whole batch by its summed loss
    return MinimumNorm(attacks.L2CarliniWagnerAttack(**options.to_dict(), abort_early=False), bounds)


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

"""adv-lib's attacks (adversarial-library): APGD, FAB and DDN, run so that a result depends on the image alone.

adv-lib takes inputs in [0, 1] and draws random starts from torch's global generator. Here inputs are mapped to the
unit box, batches have fixed sizes, and what an attack draws comes from a generator of the image.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from robench.attacks.advlib_modules import advlib
from robench.attacks.claims import Attack, FixedEpsilonAttack, MinimumNormAttack
from robench.attacks.classifier import Classifier
from robench.attacks.examples import Claims, Examples
from robench.attacks.library_model import ScaledModel
from robench.attacks.starts import normals
from robench.attacks.unit_box import SpareClasses, UnitBox
from robench.specs.attacks import AdvlibOptions, ApgdCeSpec, ApgdTSpec, DdnSpec, FabSpec

S = TypeVar("S", bound=AdvlibOptions)


class _OfAdvlib(Generic[S]):
    """An attack of adv-lib.

    Args:
        options: of the attack.
        bounds: the box of valid inputs.
        seed: of its draws.
    """

    def __init__(self, options: S, bounds: tuple[float, float], seed: int) -> None:
        self._options, self._bounds, self._seed = options, bounds, seed

    def _box(self, classifier: Classifier, tile: Examples) -> UnitBox:
        return UnitBox(ScaledModel(classifier, tile.scale), self._bounds)

    def _draws(self, tile: Examples, restart: int) -> ImageNoise:
        return ImageNoise(self._seed, tile.index, restart)


class Apgd(_OfAdvlib[ApgdCeSpec], FixedEpsilonAttack):
    """APGD on cross-entropy (Croce & Hein, arXiv 2003.01690)."""

    def attempts(self, classifier: Classifier) -> int:
        """One for each start."""
        return self._options.restarts

    def attempt(self, classifier: Classifier, tile: Examples, epsilon: float, attempted: int) -> Claims:
        """Call adv-lib from another start each time."""
        box = self._box(classifier, tile)
        with self._draws(tile, attempted):
            points = advlib("auto_pgd").apgd(
                box, box.into(tile.x), tile.label, box.length(epsilon), 2,
                n_iter=self._options.steps, loss_function="ce",
            )  # fmt: skip
        return _claims(box, points, tile.label)


class TargetedApgd(_OfAdvlib[ApgdTSpec], FixedEpsilonAttack):
    """APGD on the targeted difference-of-logits ratio, class by class from the likeliest.

    The ratio needs four classes. A model of fewer gets classes that are never predicted.
    """

    def attempts(self, classifier: Classifier) -> int:
        """One for each start and target."""
        return self._options.restarts * self._targets(classifier)

    def attempt(self, classifier: Classifier, tile: Examples, epsilon: float, attempted: int) -> Claims:
        """Call adv-lib with the next target; after the last one, from another start."""
        restart, rank = divmod(attempted, self._targets(classifier))
        box = UnitBox(SpareClasses(ScaledModel(classifier, tile.scale)), self._bounds)
        inputs = box.into(tile.x)
        with torch.no_grad():
            others = box(inputs).scatter(1, tile.label[:, None], -torch.inf)
        target = others.argsort(dim=1, descending=True, stable=True)[:, rank]
        with self._draws(tile, restart):
            points = advlib("auto_pgd").apgd(
                box, inputs, target, box.length(epsilon), 2,
                targeted=True, n_iter=self._options.steps, loss_function="dlr",
            )  # fmt: skip
        return _claims(box, points, tile.label)

    def _targets(self, classifier: Classifier) -> int:
        return min(self._options.targets, classifier.classes - 1)


class Fab(_OfAdvlib[FabSpec], MinimumNormAttack):
    """FAB (Croce & Hein, arXiv 1907.02044)."""

    def attempt(self, classifier: Classifier, tile: Examples) -> Claims:
        """Call adv-lib, which makes the restarts."""
        box, options = self._box(classifier, tile), self._options
        with self._draws(tile, 0):
            points = advlib("fast_adaptive_boundary").fab(
                box, box.into(tile.x), tile.label, 2,
                n_iter=options.steps, restarts=options.restarts, targeted_restarts=options.targeted,
            )  # fmt: skip
        return _claims(box, points, tile.label)


class Ddn(_OfAdvlib[DdnSpec], MinimumNormAttack):
    """DDN (Rony et al., arXiv 1811.09600)."""

    def attempt(self, classifier: Classifier, tile: Examples) -> Claims:
        """Call adv-lib."""
        box, options = self._box(classifier, tile), self._options
        with self._draws(tile, 0):
            points = advlib("decoupled_direction_norm").ddn(
                box, box.into(tile.x), tile.label,
                steps=options.steps, init_norm=box.length(options.init_norm), levels=None,
            )  # fmt: skip
        return _claims(box, points, tile.label)


class ImageNoise(TorchFunctionMode):
    """Within it, `torch.randn_like` draws for each row of a tile from the generator of its image.

    For fewer rows than the tile has, as where DDN meets a vanishing gradient, all rows get the same draw.

    Args:
        seed: of the draws.
        index: of the images of the tile (T,).
        restart: draws differ from one to the next.
    """

    def __init__(self, seed: int, index: Tensor, restart: int) -> None:
        super().__init__()
        self._seed, self._index, self._restart = seed, index, restart

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace one function, leave all others."""
        if func is not torch.randn_like:
            return func(*args, **(kwargs or {}))
        like: Tensor = args[0]
        if len(like) == len(self._index):
            return normals(self._seed, self._index, self._restart, like)
        return normals(self._seed, self._index.new_zeros(1), self._restart, like[:1]).expand_as(like)


def build(options: AdvlibOptions, bounds: tuple[float, float], seed: int) -> Attack:
    """adv-lib's attack with these options.

    Args:
        options: of one attack.
        bounds: the box of valid inputs.
        seed: of the random starts.

    Raises:
        SpecError: adv-lib is not installed.
    """
    advlib("auto_pgd")
    if isinstance(options, ApgdCeSpec):
        return Apgd(options, bounds, seed)
    if isinstance(options, ApgdTSpec):
        return TargetedApgd(options, bounds, seed)
    return Fab(options, bounds, seed) if isinstance(options, FabSpec) else Ddn(options, bounds, seed)


def _claims(box: UnitBox, points: Tensor, label: Tensor) -> Claims:
    with torch.no_grad():
        found = box(points).argmax(dim=1) != label
    return Claims(box.out_of(points), found)

"""adv-lib's attacks (adversarial-library): APGD, FAB and DDN, run so that a result depends on the image alone.

adv-lib takes inputs in [0, 1] and draws random starts from torch's global generator. Here inputs are mapped to the
unit box, batches have fixed sizes, and what an attack draws comes from a generator of the image.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from robench.attacks.claims import Claims, by_radius, in_tiles
from robench.attacks.classifier import Classifier
from robench.attacks.library_model import LibraryModel
from robench.attacks.rows import State
from robench.attacks.starts import normals
from robench.errors import SpecError
from robench.specs.attacks import AdvlibOptions, ApgdCeSpec, ApgdTSpec, DdnSpec, FabSpec

FEWEST = 4
"""Classes that the difference-of-logits ratio of targeted APGD needs (Croce & Hein 2020, Eq. 7)."""


class Apgd:
    """APGD on cross-entropy, one ε after the other (Croce & Hein, arXiv 2003.01690)."""

    def __init__(self, options: ApgdCeSpec, bounds: tuple[float, float], seed: int) -> None:
        self._options, self._bounds, self._seed = options, bounds, seed

    def run(self, classifier: Classifier, jobs: State) -> Claims:
        """Attack each image at the radii that it asks (`claims.by_radius`)."""

        def attempt(rows: State, epsilon: float, restart: int) -> Claims:
            return in_tiles(classifier, rows, lambda tile: self._attempt(classifier, tile, epsilon, restart))

        return by_radius(jobs, self._options.restarts, attempt)

    def _attempt(self, classifier: Classifier, tile: State, epsilon: float, restart: int) -> Claims:
        box = UnitBox(LibraryModel(classifier, tile["scale"]), self._bounds)
        with ImageNoise(self._seed, tile["index"], restart):
            points = _advlib("auto_pgd").apgd(
                box, box.into(tile["x"]), tile["label"], box.length(epsilon), 2,
                n_iter=self._options.steps, loss_function="ce",
            )  # fmt: skip
        return _claims(box, points, tile["label"])


class TargetedApgd:
    """APGD on the targeted difference-of-logits ratio, class by class from the likeliest, one ε after the other.

    The ratio needs four classes. A model of fewer gets classes that are never predicted.
    """

    def __init__(self, options: ApgdTSpec, bounds: tuple[float, float], seed: int) -> None:
        self._options, self._bounds, self._seed = options, bounds, seed

    def run(self, classifier: Classifier, jobs: State) -> Claims:
        """Attack each image at the radii that it asks (`claims.by_radius`)."""
        targets = min(self._options.targets, classifier.classes - 1)

        def attempt(rows: State, epsilon: float, attempted: int) -> Claims:
            restart, rank = divmod(attempted, targets)
            return in_tiles(classifier, rows, lambda tile: self._attempt(classifier, tile, epsilon, restart, rank))

        return by_radius(jobs, self._options.restarts * targets, attempt)

    def _attempt(self, classifier: Classifier, tile: State, epsilon: float, restart: int, rank: int) -> Claims:
        box = UnitBox(SpareClasses(LibraryModel(classifier, tile["scale"])), self._bounds)
        inputs = box.into(tile["x"])
        with torch.no_grad():
            others = box(inputs).scatter(1, tile["label"][:, None], -torch.inf)
        target = others.argsort(dim=1, descending=True, stable=True)[:, rank]
        with ImageNoise(self._seed, tile["index"], restart):
            points = _advlib("auto_pgd").apgd(
                box, inputs, target, box.length(epsilon), 2,
                targeted=True, n_iter=self._options.steps, loss_function="dlr",
            )  # fmt: skip
        return _claims(box, points, tile["label"])


class MinimumNorm:
    """FAB or DDN: the nearest adversarial, whatever the ε."""

    def __init__(self, options: FabSpec | DdnSpec, bounds: tuple[float, float], seed: int) -> None:
        self._options, self._bounds, self._seed = options, bounds, seed

    def run(self, classifier: Classifier, jobs: State) -> Claims:
        """Attack each image once."""
        return in_tiles(classifier, jobs, lambda tile: self._attempt(classifier, tile))

    def _attempt(self, classifier: Classifier, tile: State) -> Claims:
        box = UnitBox(LibraryModel(classifier, tile["scale"]), self._bounds)
        with ImageNoise(self._seed, tile["index"], 0):
            points = self._points(box, box.into(tile["x"]), tile["label"])
        return _claims(box, points, tile["label"])

    def _points(self, box: UnitBox, x: Tensor, label: Tensor) -> Tensor:
        options = self._options
        if isinstance(options, FabSpec):
            fab = _advlib("fast_adaptive_boundary").fab
            return fab(box, x, label, 2, n_iter=options.steps, restarts=options.restarts,  # type: ignore[no-any-return]
                       targeted_restarts=options.targeted)  # fmt: skip
        ddn = _advlib("decoupled_direction_norm").ddn
        return ddn(box, x, label, steps=options.steps, init_norm=box.length(options.init_norm), levels=None)  # type: ignore[no-any-return]


class UnitBox(nn.Module):
    """A model of inputs in [0, 1]; it sees them within their own bounds."""

    def __init__(self, model: nn.Module, bounds: tuple[float, float]) -> None:
        super().__init__()
        self._model, (self._low, self._high) = model, bounds
        self._same = bounds == (0.0, 1.0)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits of inputs in the unit box."""
        result: Tensor = self._model(self.out_of(x))
        return result

    def out_of(self, x: Tensor) -> Tensor:
        """From the unit box to the bounds."""
        return x if self._same else (self._low + x * (self._high - self._low)).clamp(self._low, self._high)

    def into(self, x: Tensor) -> Tensor:
        """From the bounds to the unit box."""
        return x if self._same else ((x - self._low) / (self._high - self._low)).clamp(0.0, 1.0)

    def length(self, epsilon: float) -> float:
        """A length in the unit box."""
        return epsilon / (self._high - self._low)


class SpareClasses(nn.Module):
    """A model with at least four classes: what is missing is added, a logit below all others, without a gradient."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, q), q >= 4."""
        logits: Tensor = self._model(x)
        missing = FEWEST - logits.shape[1]
        if missing <= 0:
            return logits
        fixed = logits.detach()
        lowest = fixed.amin(dim=1, keepdim=True)
        spare = lowest - (fixed.amax(dim=1, keepdim=True) - lowest).clamp_min(1.0)
        return torch.cat([logits, spare.expand(len(logits), missing)], dim=1)


class ImageNoise(TorchFunctionMode):
    """Within it, `torch.randn_like` draws for each row of a tile from the generator of its image.

    For fewer rows than the tile has, as where DDN meets a vanishing gradient, all rows get the same draw.
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


def build(options: AdvlibOptions, bounds: tuple[float, float], seed: int) -> Apgd | TargetedApgd | MinimumNorm:
    """adv-lib's attack with these options on inputs within `bounds`.

    Raises:
        SpecError: adv-lib is not installed.
    """
    _advlib("auto_pgd")
    if isinstance(options, ApgdCeSpec):
        return Apgd(options, bounds, seed)
    if isinstance(options, ApgdTSpec):
        return TargetedApgd(options, bounds, seed)
    return MinimumNorm(options, bounds, seed)


def _claims(box: UnitBox, points: Tensor, label: Tensor) -> Claims:
    with torch.no_grad():
        found = box(points).argmax(dim=1) != label
    return Claims(box.out_of(points), found)


def _advlib(name: str) -> Any:
    """One module of `adv_lib.attacks`, without the package's own imports: plotting, torchvision, `distutils`.

    Raises:
        SpecError: adv-lib is not installed.
    """
    try:
        root = importlib.import_module("adv_lib")
    except ImportError:
        raise SpecError(
            "the attacks of the suite `strong` need adv-lib, which is not installed",
            hint="pip install --no-deps adv-lib==0.2.8 (its plotting packages are not needed, and no longer install)",
        ) from None
    if "adv_lib.attacks" not in sys.modules:
        package = types.ModuleType("adv_lib.attacks")
        package.__path__ = [f"{path}/attacks" for path in root.__path__]
        sys.modules["adv_lib.attacks"] = package
        _stand_in("adv_lib.utils.visdom_logger", VisdomLogger=object)
        _stand_in("adv_lib.utils.attack_utils", get_all_targets=_all_targets)
    return importlib.import_module(f"adv_lib.attacks.{name}")


def _stand_in(name: str, **members: Any) -> None:
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module


def _all_targets(labels: Tensor, num_classes: int) -> Tensor:
    """All classes but the label (N, num_classes - 1), ascending."""
    targets = torch.arange(num_classes - 1, device=labels.device)
    return targets + (targets >= labels[:, None])

"""Attacks that a user brings: a foolbox object, or a function of model, images, labels and ε.

What they claim is verified as for any other attack. What they draw comes from the global generators, which are seeded
for each call from the seed and the images of the batch: the same call gives the same answer, in batches of another size
an attack that draws may give another. With a batch size of 1 its records depend on the image alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robench.attacks.claims import Attack, FixedEpsilonAttack
from robench.attacks.classifier import Classifier
from robench.attacks.examples import Claims, Examples, expand, project
from robench.attacks.foolbox_attacks import FixedEpsilon, MinimumNorm, foolbox
from robench.attacks.library_model import LibraryModel
from robench.attacks.starts import seeded
from robench.errors import SpecError
from robench.models.user_code.blame import blamed
from robench.models.user_code.surroundings import kept_surroundings

AttackFunction = Callable[[nn.Module, Tensor, Tensor, float], Any]
"""Model (at least two logits), images (N, *shape), labels (N,) and ε to points (N, *shape)."""

GUIDE = "docs/adding-an-attack.md says what an attack is given and returns"


class OfLibrary:
    """A `foolbox.attacks` object.

    Args:
        attack: FixedEpsilon or MinimumNorm of it.
        name: in messages.
        seed: of its draws.
    """

    def __init__(self, attack: Attack, name: str, seed: int) -> None:
        self._attack, self._name, self._seed = attack, name, seed

    def run(self, classifier: Classifier, examples: Examples) -> Claims:
        """Attack each image.

        Raises:
            ModelError: the attack fails.
        """
        hint = "check that it runs on these images in a script of foolbox alone, with what it needs installed"
        with _visiting(self._seed, examples), blamed(f"the attack `{self._name}`", hint=hint):
            return self._attack.run(classifier, examples)


class OfFunction(FixedEpsilonAttack):
    """A function, asked ε by ε, ascending, for the images for which it has found nothing yet.

    Points beyond ε or outside of the bounds are moved back first, as foolbox does; what is not finite is no claim.

    Args:
        function: see `AttackFunction`. It gets copies, and the model's own logits.
        name: in messages.
        bounds: the box of valid inputs.
        seed: of its draws.
    """

    def __init__(self, function: AttackFunction, name: str, bounds: tuple[float, float], seed: int) -> None:
        self._function, self._name, self._bounds, self._seed = function, name, bounds, seed

    def run(self, classifier: Classifier, examples: Examples) -> Claims:
        """Attack each image at the radii that it asks (`claims.by_radius`).

        Raises:
            ModelError: the function fails.
            SpecError: it returns no points of the right shape.
        """
        with _visiting(self._seed, examples):
            return super().run(classifier, examples)

    def attempt(self, classifier: Classifier, tile: Examples, epsilon: float, attempted: int) -> Claims:
        """Call the function with one ε."""
        model, x = LibraryModel(classifier), tile.x
        with blamed(f"the attack `{self._name}`", hint=GUIDE):
            returned = self._function(model, x.clone(), tile.label.clone(), epsilon)
        points = self._points(returned, x)
        finite = torch.isfinite(points).flatten(1).all(dim=1)
        points = torch.where(expand(finite, x), points, x.double())  # the image is no adversarial
        radius = torch.full_like(tile.scale, epsilon, dtype=torch.float64)
        points = project(points, x.double(), radius, self._bounds).to(x.dtype)
        with torch.no_grad():
            found = model(points).argmax(dim=1) != tile.label
        return Claims(points, found)

    def _points(self, returned: Any, x: Tensor) -> Tensor:
        """In float64, in which the length of a far point does not overflow."""
        numeric = isinstance(returned, np.ndarray) and returned.dtype.kind in "fiu"
        points = torch.from_numpy(returned) if numeric else returned
        if not isinstance(points, Tensor) or points.shape != x.shape or points.is_complex():
            shape = getattr(returned, "shape", None)
            found = f"type {type(returned).__name__}" if shape is None else f"shape {tuple(shape)}, {returned.dtype}"
            raise SpecError(
                f"the attack `{self._name}` returned {found} for images of shape {tuple(x.shape)}",
                hint="return one point for each image, a real tensor of the shape of `x`; `x` itself where it failed",
            )
        return points.detach().to(device=x.device, dtype=torch.float64)


@contextmanager
def _visiting(seed: int, examples: Examples) -> Iterator[None]:
    """Around foreign code: its draws are those of the seed and the images, and what it sets is put back."""
    with kept_surroundings(), seeded(seed, *examples.index.tolist()):
        yield


def of_object(attack: Any, bounds: tuple[float, float], seed: int) -> tuple[str, Attack]:
    """The name of a foolbox object or function, and the attack.

    Args:
        attack: of foolbox, or a function.
        bounds: least and largest value of an input.
        seed: of random starts.

    Raises:
        SpecError: it is neither, or no attack in L2.
    """
    name = _name(attack)
    if isinstance(attack, foolbox().attacks.base.Attack):
        return name, OfLibrary(_of_kind(attack, name, bounds), name, seed)
    if isinstance(attack, type):
        raise SpecError(f"the attack `{name}` is a class", hint=f"give an object of it: `{name}()`")
    if not callable(attack) or isinstance(attack, nn.Module):
        raise SpecError(
            f"an object of type {name} is no attack",
            hint="give a name, an object of `foolbox.attacks`, or a function (model, x, y, eps) -> points",
        )
    return name, OfFunction(attack, name, bounds, seed)


def _of_kind(attack: Any, name: str, bounds: tuple[float, float]) -> Attack:
    """By foolbox's base classes: asked for each ε, or once for the nearest adversarial."""
    kinds = foolbox().attacks.base
    if not _is_l2(attack):
        raise SpecError(
            f"the attack `{name}` does not measure changes in L2",
            hint="give an attack in L2, such as `foolbox.attacks.L2BasicIterativeAttack()`; those that take a distance "
            "need `distance=foolbox.distances.l2`",
        )
    inner = _inner(attack)
    if isinstance(inner, kinds.FixedEpsilonAttack):
        return FixedEpsilon(attack, bounds)
    if isinstance(inner, kinds.MinimizationAttack):
        return MinimumNorm(attack, bounds)
    raise SpecError(
        f"the attack `{name}` is neither a FixedEpsilonAttack nor a MinimizationAttack of foolbox",
        hint="derive it from one of the two, or give a function (model, x, y, eps) -> points",
    )


def _is_l2(attack: Any) -> bool:
    try:
        distance = attack.distance
    except (AttributeError, ValueError):  # foolbox's own where the distance was not said
        return False
    return getattr(distance, "p", None) == 2


def _inner(attack: Any) -> Any:
    """What `attack.repeat(times)` repeats."""
    return attack.attack if isinstance(attack, foolbox().attacks.base.Repeated) else attack


def _name(attack: Any) -> str:
    inner = getattr(attack, "func", attack) if not isinstance(attack, type) else attack
    if isinstance(inner, foolbox().attacks.base.Attack):
        inner = type(_inner(inner))
    return str(getattr(inner, "__name__", type(inner).__name__)).strip("<>")

"""Attacks as foolbox runs them, for reference: whole batches, its own defaults, the model's logits as they are.

foolbox (Rauber et al. 2017, 2020) is what the paper attacked with. Its Carlini-Wagner and its random starts depend on
batch-mates, and cross-entropy on large logits hides gradients from it (docs/design/0005-attacks.md), so records of
these attacks hold for one batch size. What they find is verified like every other claim.
"""

from __future__ import annotations

import dataclasses
import importlib
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from robench.attacks.classifier import Classifier, two_logits
from robench.attacks.rows import State, count
from robench.specs.attacks import (
    FoolboxCwSpec,
    FoolboxDdnSpec,
    FoolboxDeepFoolSpec,
    FoolboxFgsmSpec,
    FoolboxOptions,
    FoolboxPgdSpec,
)

CLASSES: dict[type[FoolboxOptions], str] = {
    FoolboxFgsmSpec: "L2FastGradientAttack",
    FoolboxPgdSpec: "L2ProjectedGradientDescentAttack",
    FoolboxCwSpec: "L2CarliniWagnerAttack",
    FoolboxDeepFoolSpec: "L2DeepFoolAttack",
    FoolboxDdnSpec: "DDNAttack",
}


class LibraryAttack:
    """One of foolbox's attacks with its options.

    Args:
        options: of the attack.
        bounds: the box of valid inputs.
        seed: of torch's generator, which foolbox draws random starts from.
    """

    def __init__(self, options: FoolboxOptions, bounds: tuple[float, float], seed: int) -> None:
        self.bounds, self.seed = bounds, seed
        self._foolbox = _foolbox()
        self._attack = getattr(self._foolbox.attacks, CLASSES[type(options)])(**dataclasses.asdict(options))

    def run(self, classifier: Classifier, jobs: State) -> tuple[Tensor, Tensor]:
        """Attack all rows in one batch at every radius that one of them asks.

        Returns:
            The points found (N, *shape), each at the smallest radius of success, and where one was found (N,).
        """
        model = self._foolbox.PyTorchModel(_Counted(classifier), bounds=self.bounds, device=classifier.device)
        eps = sorted({float(value) for value in jobs["eps"].flatten().tolist() if value != float("inf")})
        points = jobs["x"].clone()
        found = torch.zeros(count(jobs), dtype=torch.bool, device=points.device)
        with torch.random.fork_rng(devices=[points.device] if points.is_cuda else []):
            torch.manual_seed(self.seed)
            _, clipped, success = self._attack(model, jobs["x"], jobs["label"], epsilons=eps)
        for point, hit in zip(clipped, success, strict=True):
            new = hit & ~found
            points[new] = point[new]
            found |= hit
        return points, found


def _foolbox() -> Any:
    """foolbox, imported when it is needed; its import of a renamed scipy module is no news to the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module("foolbox")


class _Counted(nn.Module):
    """The classifier as foolbox takes it: two logits at least, frozen, passes counted."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self._classifier = classifier
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, q)."""
        self._classifier.passes.add(forward=len(x), backward=len(x) if x.requires_grad else 0)
        return two_logits(self._classifier.single(x))

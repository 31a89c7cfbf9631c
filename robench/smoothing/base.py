"""The base classifier: the class that a model gives to an image on the grid of pixels, in float32."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int64

from robench.arrays import Integers
from robench.devices import exact_arithmetic
from robench.errors import ModelError
from robench.models import HeldModel
from robench.models.networks.held import detached_copy
from robench.smoothing.noise import LEVELS, Pixels

TILE = 256
"""Images of one call, at most."""
NUMBERS = 2**22
"""Inputs of one call, at most."""


class BaseClassifier:
    """A model that is asked in calls of one size, since a sum may round otherwise among more rows or fewer.

    The class of an image must not depend on its place in the call either. Where it was seen to do so, each image is
    asked by itself.

    Args:
        model: gives logits.
        device: where to compute.
    """

    def __init__(self, model: HeldModel, device: torch.device) -> None:
        self.classes, self.device = model.classes, device
        self._shape = tuple(model.input_shape)
        self.module = detached_copy(model.module).to(device).eval().requires_grad_(False)
        inputs = int(np.prod(self._shape))
        self.tile = max(1, min(TILE, NUMBERS // inputs))
        probe = np.random.default_rng(0).integers(0, LEVELS + 1, (self.tile, inputs), dtype=np.uint8)
        turn = self.tile // 2 + 1
        if not torch.equal(self._logits(np.roll(probe, turn, axis=0)), self._logits(probe).roll(turn, dims=0)):
            self.tile = 1

    def classify(self, images: Pixels) -> Int64[Integers, " n"]:
        """The class of each image (N, inputs).

        Raises:
            ModelError: the model gives logits that are not finite.
        """
        found = []
        for start in range(0, len(images), self.tile):
            part = images[start : start + self.tile]
            missing = np.repeat(part[:1], self.tile - len(part), axis=0)
            found.append(_classes(self._logits(np.concatenate([part, missing])))[: len(part)])
        return np.concatenate(found)

    def tensor(self, images: Pixels) -> torch.Tensor:
        """Images (N, inputs) as the model takes them."""
        values: npt.NDArray[np.float32] = np.divide(images, np.float32(LEVELS), dtype=np.float32)
        return torch.from_numpy(values.reshape(len(images), *self._shape)).to(self.device)

    def _logits(self, images: Pixels) -> torch.Tensor:
        with torch.no_grad(), exact_arithmetic():
            logits: torch.Tensor = self.module(self.tensor(images)).reshape(len(images), -1)
        if not bool(torch.isfinite(logits).all()):
            raise ModelError("the model gives logits that are not finite", hint="train it again with a lower rate")
        return logits


def _classes(logits: torch.Tensor) -> Int64[Integers, " n"]:
    """One logit: 1 where it is above 0. Else the largest, of equal ones the first."""
    found = logits.cpu().numpy()
    return (found[:, 0] > 0 if found.shape[1] == 1 else found.argmax(axis=1)).astype(np.int64)

"""The classifier as attack libraries take it: a module of at least two logits, scaled image by image, passes counted.

Libraries call the model with as many rows as they like, and adv-lib drops rows on the way. Rows of a matrix product may
round differently for another number of rows, so each call is split into the tiles of the `Classifier`, for which the
outputs and gradients of a row were seen to be the same bits in every place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from robench.attacks.classifier import Classifier, gradient_or_zero, two_logits
from robench.errors import ModelError
from robench.models.networks.tiles import canonical


class LibraryModel(nn.Module):
    """A frozen classifier with its own logits (N, q), q >= 2; it takes any number of rows.

    Args:
        classifier: the model under attack.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self._classifier = classifier
        self._last: tuple[Tensor, Tensor] | None = None
        empty = torch.empty(0, device=classifier.device)
        self._place = nn.Parameter(empty, requires_grad=False)  # attacks ask a parameter for the device
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, q) of inputs (N, *shape)."""
        graded = x.requires_grad and torch.is_grad_enabled()
        logits: Tensor = _Remembered.apply(x, self) if graded else self._logits(canonical(x))  # type: ignore[no-untyped-call]
        return logits

    def graph(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A leaf equal to `x` and its logits; those of the last call where it was about the same inputs.

        DeepFool asks for one gradient after the other at the same points, each with a forward pass of its own.
        """
        if self._last is None or not torch.equal(self._last[0], x):
            self._last = None  # frees the graph before the next one is made
            with torch.enable_grad():
                leaf = canonical(x).requires_grad_(True)
                self._last = leaf, self._logits(leaf)
        return self._last

    def count_backward(self, rows: int) -> None:
        """Count a backward pass of each of some rows."""
        self._classifier.passes.add(backward=rows)

    def _logits(self, x: Tensor) -> Tensor:
        """Logits of inputs that are laid out in one way."""
        size = self._classifier.fit(len(x))
        if len(x) == size:
            return self._tile(x, size)
        return torch.cat([self._tile(_laid_out(part), size) for part in torch.split(x, size)])

    def _tile(self, x: Tensor, size: int) -> Tensor:
        self._classifier.passes.add(forward=len(x), padding=size - len(x))
        missing = x[:1].detach().expand(size - len(x), *x.shape[1:])
        rows = torch.cat([x, missing]) if len(missing) else x
        return two_logits(self._classifier.single(rows))[: len(x)]


class ScaledModel(LibraryModel):
    """A frozen classifier whose logits (N, q) are divided by the scale of each image.

    Scales are powers of two, so the division rounds nothing.

    Args:
        classifier: the model under attack.
        scale: (N,) of the rows that the attack is given.
    """

    def __init__(self, classifier: Classifier, scale: Tensor) -> None:
        super().__init__(classifier)
        self._scale = scale[:, None]

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, q) of inputs (N, *shape); all rows at once, in their order."""
        logits = super().forward(x)
        if len(logits) != len(self._scale):
            raise ModelError(
                f"an attack gave the model {len(logits)} rows at once, for {len(self._scale)} images",
                hint="give attacks that ask for all rows each time; a function may ask for as many as it likes",
            )
        return logits / self._scale


class _Remembered(torch.autograd.Function):
    """The logits of a `LibraryModel`, differentiated through the graph that it remembers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, model: LibraryModel) -> Tensor:
        """Logits, from the graph."""
        ctx.model, (ctx.leaf, ctx.logits) = model, model.graph(x)
        return ctx.logits.detach().clone()  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor, None]:
        """The gradient; 0 where it is not finite, or where the model cuts it off."""
        ctx.model.count_backward(len(weights))
        with torch.enable_grad():
            gradient = gradient_or_zero((ctx.logits * weights).sum(), ctx.leaf, retain_graph=True)
        return torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0), None


def _laid_out(x: Tensor) -> Tensor:
    """A differentiable copy, laid out in memory in one way only (see `classifier.canonical`)."""
    return x.flatten(1).clone(memory_format=torch.contiguous_format).view(x.shape)


def power_of_two(values: Tensor) -> Tensor:
    """The largest power of two that is at most each value > 0: to divide by it is exact."""
    return torch.ldexp(torch.ones_like(values), torch.frexp(values).exponent - 1)

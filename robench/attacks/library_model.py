"""The classifier as attack libraries take it: a module of at least two logits, scaled image by image, passes counted.

Libraries call the model with as many rows as they like, and adv-lib drops rows on the way. Rows of a matrix product may
round differently for another number of rows, so each call is split into the tiles of the `Classifier`, for which the
outputs and gradients of a row were seen to be the same bits in every place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robench.attacks.classifier import Classifier, two_logits
from robench.errors import ModelError


class LibraryModel(nn.Module):
    """A frozen classifier with logits (N, q), q >= 2, each row divided by the scale of its image.

    Scales are powers of two, so the division rounds nothing.

    Args:
        classifier: the model under attack.
        scale: (N,) for the rows that the attack is given; None where the attack does not depend on the scale of logits,
            and may drop rows.
    """

    def __init__(self, classifier: Classifier, scale: Tensor | None) -> None:
        super().__init__()
        self._classifier = classifier
        self._scale = None if scale is None else scale[:, None]
        empty = torch.empty(0, device=classifier.device)
        self._place = nn.Parameter(empty, requires_grad=False)  # attacks ask a parameter for the device
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, q) of inputs (N, *shape)."""
        size = self._classifier.fit(len(x))
        logits = torch.cat([self._tile(part, size) for part in torch.split(x, size)])
        if self._scale is None:
            return logits
        if len(logits) != len(self._scale):
            raise ModelError(
                f"an attack asked the model for {len(logits)} rows at once, of {len(self._scale)} images",
                hint="give attacks that ask for all rows each time; a function may ask for as many as it likes",
            )
        return logits / self._scale

    def _tile(self, x: Tensor, size: int) -> Tensor:
        graded = x.requires_grad and torch.is_grad_enabled()
        self._classifier.passes.add(forward=len(x), backward=len(x) if graded else 0, padding=size - len(x))
        missing = x[:1].detach().expand(size - len(x), *x.shape[1:])
        rows = _laid_out(torch.cat([x, missing]) if len(missing) else x)
        if rows.requires_grad:
            rows.register_hook(_finite)  # type: ignore[no-untyped-call]
        logits = two_logits(self._classifier.single(rows))
        if graded and not (logits.requires_grad and self._classifier.linked):  # libraries are told that it is 0
            logits = logits + 0.0 * rows.flatten(1).sum(dim=1, keepdim=True)
        return logits[: len(x)]


def _finite(gradient: Tensor) -> Tensor:
    """What is not finite counts as 0."""
    return torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)


def _laid_out(x: Tensor) -> Tensor:
    """A differentiable copy, laid out in memory in one way only (see `classifier.canonical`)."""
    return x.flatten(1).clone(memory_format=torch.contiguous_format).view(x.shape)


def power_of_two(values: Tensor) -> Tensor:
    """The largest power of two that is at most each value > 0: to divide by it is exact."""
    return torch.ldexp(torch.ones_like(values), torch.frexp(values).exponent - 1)

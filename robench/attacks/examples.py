"""Images under attack as rows of tensors, and the tiles of fixed size in which a model sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from torch import Tensor

from robench.attacks.classifier import Classifier

R = TypeVar("R", bound="Rows")
Q = TypeVar("Q", bound="Rows")


@dataclass(frozen=True)
class Rows:
    """Base of dataclasses whose fields are tensors with one row an image."""

    def __len__(self) -> int:
        return len(self._tensors()[0])

    def rows(self: R, index: Tensor | slice) -> R:
        """Some of the rows."""
        return type(self)(*(tensor[index] for tensor in self._tensors()))

    def padded(self: R, size: int) -> R:
        """The rows, with the first one repeated up to `size`."""
        missing = size - len(self)
        if missing <= 0:
            return self
        return type(self)(*(torch.cat([t, t[:1].expand(missing, *t.shape[1:])]) for t in self._tensors()))

    def _tensors(self) -> list[Tensor]:
        return [getattr(self, field.name) for field in fields(self)]


@dataclass(frozen=True)
class Examples(Rows):
    """Images under attack.

    Fields:
        x: (N, *shape) float32.
        label: (N,) true classes.
        index: (N,) positions in the split, from which random starts are drawn.
        scale: (N,) powers of two by which attacks divide the logits.
        eps: (N, K) the radii asked, ascending, padded with infinity.
        distance: (N,) of the nearest adversarial known; infinite where none is.
    """

    x: Tensor
    label: Tensor
    index: Tensor
    scale: Tensor
    eps: Tensor
    distance: Tensor


@dataclass(frozen=True)
class Claims(Rows):
    """What an attack says it has found; nothing of it is verified yet.

    Fields:
        points: (N, *shape), adversarial where `found`.
        found: (N,).
    """

    points: Tensor
    found: Tensor


def joined(parts: Sequence[R]) -> R:
    """The rows of several parts, in order."""
    return type(parts[0])(*map(torch.cat, zip(*(part._tensors() for part in parts), strict=True)))


def tiles(classifier: Classifier, rows: R) -> Iterator[tuple[R, int]]:
    """The rows in tiles: each padded, with its number of real rows."""
    largest = classifier.fit(len(rows))
    for start in range(0, len(rows), largest):
        part = rows.rows(slice(start, start + largest))
        yield part.padded(classifier.fit(len(part))), len(part)


def in_tiles(classifier: Classifier, rows: R, function: Callable[[R, int], Q]) -> Q:
    """What a function gives for all rows, tile by tile.

    Args:
        classifier: knows the sizes of tiles.
        rows: of any number.
        function: a tile and its number of real rows to as many rows as the tile has.
    """
    return joined([function(tile, real).rows(slice(real)) for tile, real in tiles(classifier, rows)])


def expand(values: Tensor, like: Tensor) -> Tensor:
    """(T,) with as many dimensions as (T, *shape)."""
    return values.reshape(-1, *([1] * (like.ndim - 1)))


def norms(difference: Tensor) -> Tensor:
    """L2 norm of each row (T,)."""
    length: Tensor = torch.linalg.vector_norm(difference.flatten(1), dim=1)
    return length


def project(x: Tensor, center: Tensor, radius: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Each row moved into the ball of its radius around its center, then into the box.

    Args:
        x: points (T, *shape).
        center: of the balls (T, *shape).
        radius: of the balls (T,).
        bounds: the box of valid inputs.
    """
    shift = x - center
    factor = (radius / norms(shift).clamp_min(1e-30)).clamp_max(1.0)
    return (center + shift * expand(factor, shift)).clamp(*bounds)

"""Images under attack as rows of tensors, and the tiles of fixed size in which a model sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Float32, Int, Shaped
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
        x: the inputs.
        label: true classes.
        index: positions in the split, from which random starts are drawn.
        scale: powers of two by which attacks divide the logits.
        eps: the radii asked, ascending, padded with infinity.
        distance: of the nearest adversarial known; infinite where none is.
    """

    x: Float32[Tensor, "n ..."]
    label: Int[Tensor, " n"]
    index: Int[Tensor, " n"]
    scale: Float[Tensor, " n"]
    eps: Float[Tensor, "n k"]
    distance: Float[Tensor, " n"]


@dataclass(frozen=True)
class Claims(Rows):
    """What an attack says it has found; nothing of it is verified yet.

    Fields:
        points: adversarial where `found`.
        found: whether the attack says so.
    """

    points: Float[Tensor, "n ..."]
    found: Bool[Tensor, " n"]


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


def expand(values: Shaped[Tensor, " n"], like: Shaped[Tensor, "n ..."]) -> Shaped[Tensor, "n ..."]:
    """Values with as many dimensions as `like`."""
    return values.reshape(-1, *([1] * (like.ndim - 1)))


def norms(difference: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
    """L2 norm of each row."""
    length: Tensor = torch.linalg.vector_norm(difference.flatten(1), dim=1)
    return length


def project(
    x: Float[Tensor, " n *shape"],
    center: Float[Tensor, " n *shape"],
    radius: Float[Tensor, " n"],
    bounds: tuple[float, float],
) -> Float[Tensor, " n *shape"]:
    """Each row moved into the ball of its radius around its center, then into the box.

    Args:
        x: points.
        center: of the balls.
        radius: of the balls.
        bounds: the box of valid inputs.
    """
    shift = x - center
    factor = (radius / norms(shift).clamp_min(1e-30)).clamp_max(1.0)
    return (center + shift * expand(factor, shift)).clamp(*bounds)

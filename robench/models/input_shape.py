"""The shape of an input: what a file fixes, what the user gives, and what the data have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from robench.errors import ModelError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class WantedShape:
    """The shape, without the batch, of the inputs that a model is wanted for.

    Fields:
        given: by the user; None where it is left to the model.
        of_data: gives that of the data; asked where neither the model nor the user tells it.
    """

    given: Shape | None = None
    of_data: Callable[[], Shape] | None = None

    def fitted(self, sizes: Sequence[int | None], source: str) -> Shape:
        """The shape that a model is asked with.

        Args:
            sizes: what the model fixes, None for a size that it leaves open; empty if it tells nothing.
            source: how to call the model in a message.

        Raises:
            ModelError: nobody tells an open size, or the user gives another than the model fixes.
        """
        fixed = tuple(size for size in sizes if size is not None)
        if self.given is None and len(fixed) == len(sizes) > 0:
            return fixed
        shape = self.of_data() if self.given is None and self.of_data is not None else self.given
        if shape is None:
            why = "it leaves sizes open" if sizes else "nothing tells it"
            raise ModelError(
                f"the input shape of {source} is not known: {why}",
                hint="give it without the batch: `--input-shape 1,28,28`, in Python `input_shape=(1, 28, 28)`",
            )
        fits = len(shape) == len(sizes) and all(a in (None, b) for a, b in zip(sizes, shape, strict=True))
        if sizes and not fits:
            shown = ["any" if size is None else size for size in sizes]
            raise ModelError(
                f"{source} takes inputs of shape {shown}, not {list(shape)}",
                hint="leave out the input shape, and take data of the shape that the model was made for",
            )
        return shape
